// GGUF's quantized types once more, one value at a time, from the descriptions of the types (comments of ggml-common.h): slow, and
// written without looking at how the library does it. And random blocks of each.
import { random } from "./values.ts";

export interface BlockType {
  readonly id: number;
  readonly values: number;
  readonly bytes: number;
  /** Offsets of its half-precision numbers. */
  readonly halves: readonly number[];
  /** Value `i` of a block. */
  valueAt(block: DataView, i: number): number;
}

/** IEEE 754 binary16. */
export function halfAt(view: DataView, at: number): number {
  const bits = view.getUint16(at, true);
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** `width` bits from bit `from` on, of bytes from `at` on, the lowest bit first. */
function bits(view: DataView, at: number, from: number, width: number): number {
  let value = 0;
  for (let i = 0; i < width; i++) {
    const bit = from + i;
    value |= ((view.getUint8(at + (bit >> 3)) >> (bit & 7)) & 1) << i;
  }
  return value;
}

/** Columns 0 to 15 in low nibbles, 16 to 31 in high ones. */
const nibble = (view: DataView, at: number, i: number): number =>
  bits(view, at + (i % 16), i < 16 ? 0 : 4, 4);

/** K types: 64 columns in 32 bytes, the first half of them in low nibbles. */
const nibbleK = (view: DataView, at: number, i: number): number =>
  bits(view, at + Math.floor(i / 64) * 32 + (i % 32), i % 64 < 32 ? 0 : 4, 4);

/** 128 columns in 32 bytes, two bits each. */
const crumb = (view: DataView, at: number, i: number): number =>
  bits(view, at + Math.floor(i / 128) * 32 + (i % 32), 2 * Math.floor((i % 128) / 32), 2);

/** 8 scales and 8 minimums of 6 bits in 12 bytes. */
function packed6(view: DataView, at: number, part: number): { scale: number; minimum: number } {
  if (part < 4)
    return { scale: bits(view, at + part, 0, 6), minimum: bits(view, at + 4 + part, 0, 6) };
  const low = view.getUint8(at + 4 + part);
  return {
    scale: (low % 16) + 16 * bits(view, at + part - 4, 6, 2),
    minimum: Math.floor(low / 16) + 16 * bits(view, at + part, 6, 2),
  };
}

const IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

export const BLOCK_TYPES: Readonly<Record<string, BlockType>> = {
  Q4_0: {
    id: 2,
    values: 32,
    bytes: 18,
    halves: [0],
    valueAt: (b, i) => halfAt(b, 0) * (nibble(b, 2, i) - 8),
  },
  Q4_1: {
    id: 3,
    values: 32,
    bytes: 20,
    halves: [0, 2],
    valueAt: (b, i) => halfAt(b, 0) * nibble(b, 4, i) + halfAt(b, 2),
  },
  Q5_0: {
    id: 6,
    values: 32,
    bytes: 22,
    halves: [0],
    valueAt: (b, i) => halfAt(b, 0) * (nibble(b, 6, i) + 16 * bits(b, 2, i, 1) - 16),
  },
  Q5_1: {
    id: 7,
    values: 32,
    bytes: 24,
    halves: [0, 2],
    valueAt: (b, i) => halfAt(b, 0) * (nibble(b, 8, i) + 16 * bits(b, 4, i, 1)) + halfAt(b, 2),
  },
  Q8_0: {
    id: 8,
    values: 32,
    bytes: 34,
    halves: [0],
    valueAt: (b, i) => halfAt(b, 0) * b.getInt8(2 + i),
  },
  Q2_K: {
    id: 10,
    values: 256,
    bytes: 84,
    halves: [80, 82],
    valueAt: (b, i) => {
      const part = Math.floor(i / 16);
      const [scale, minimum] = [bits(b, part, 0, 4), bits(b, part, 4, 4)];
      return halfAt(b, 80) * scale * crumb(b, 16, i) - halfAt(b, 82) * minimum;
    },
  },
  Q3_K: {
    id: 11,
    values: 256,
    bytes: 110,
    halves: [108],
    valueAt: (b, i) => {
      const part = Math.floor(i / 16);
      const low = bits(b, 96 + (part % 8), part < 8 ? 0 : 4, 4);
      const high = bits(b, 104 + (part % 4), 2 * Math.floor(part / 4), 2);
      const top = bits(b, i % 32, Math.floor(i / 32), 1);
      return halfAt(b, 108) * (low + 16 * high - 32) * (crumb(b, 32, i) + (top ? 0 : -4));
    },
  },
  Q4_K: {
    id: 12,
    values: 256,
    bytes: 144,
    halves: [0, 2],
    valueAt: (b, i) => {
      const { scale, minimum } = packed6(b, 4, Math.floor(i / 32));
      return halfAt(b, 0) * scale * nibbleK(b, 16, i) - halfAt(b, 2) * minimum;
    },
  },
  Q5_K: {
    id: 13,
    values: 256,
    bytes: 176,
    halves: [0, 2],
    valueAt: (b, i) => {
      const part = Math.floor(i / 32);
      const { scale, minimum } = packed6(b, 4, part);
      const code = nibbleK(b, 48, i) + 16 * bits(b, 16 + (i % 32), part, 1);
      return halfAt(b, 0) * scale * code - halfAt(b, 2) * minimum;
    },
  },
  Q6_K: {
    id: 14,
    values: 256,
    bytes: 210,
    halves: [208],
    valueAt: (b, i) => {
      const [half, within] = [Math.floor(i / 128), i % 128];
      const low = bits(b, 64 * half + (within % 64), within < 64 ? 0 : 4, 4);
      const high = crumb(b, 128, i);
      return halfAt(b, 208) * b.getInt8(192 + Math.floor(i / 16)) * (low + 16 * high - 32);
    },
  },
  IQ4_NL: {
    id: 20,
    values: 32,
    bytes: 18,
    halves: [0],
    valueAt: (b, i) => halfAt(b, 0) * IQ4[nibble(b, 2, i)]!,
  },
  IQ4_XS: {
    id: 23,
    values: 256,
    bytes: 136,
    halves: [0],
    valueAt: (b, i) => {
      const part = Math.floor(i / 32);
      const scale = bits(b, 4, 4 * part, 4) + 16 * bits(b, 2, 2 * part, 2) - 32;
      return halfAt(b, 0) * scale * IQ4[nibble(b, 8 + 16 * part, i % 32)]!;
    },
  },
};

/**
 * Random blocks whose halves are finite, between 2^-14 and `largest` in size, of either sign; every other bit is random.
 * @param largest a power of two
 */
export function randomBlocks(
  { bytes, halves }: BlockType,
  count: number,
  seed: number,
  largest = 1,
): Uint8Array {
  const next = random(seed);
  const out = new Uint8Array(count * bytes);
  const view = new DataView(out.buffer);
  for (let i = 0; i < out.length; i++) out[i] = Math.floor(next() * 256);
  const top = 15 + Math.log2(largest);
  for (let block = 0; block < count; block++) {
    for (const at of halves) {
      const exponent = 1 + Math.floor(next() * (top - 1));
      const half = (Math.floor(next() * 2) << 15) | (exponent << 10) | Math.floor(next() * 1024);
      view.setUint16(block * bytes + at, half, true);
    }
  }
  return out;
}

/** All values of blocks, rounded to f32 once. */
export function blockValues(type: BlockType, data: Uint8Array): Float32Array {
  const count = data.length / type.bytes;
  const out = new Float32Array(count * type.values);
  for (let block = 0; block < count; block++) {
    const view = new DataView(data.buffer, data.byteOffset + block * type.bytes, type.bytes);
    for (let i = 0; i < type.values; i++) out[block * type.values + i] = type.valueAt(view, i);
  }
  return out;
}
