// What the blocks of GGUF's quantized types stand for, as f32. Each formula is evaluated in f64, where it is exact but for one last
// addition, and rounded once: the same bits as ggml's f32 arithmetic, in which no earlier step rounds either.
// Layouts: ggml-common.h; formulas: dequantize_row_* in ggml-quants.c.
import { f16Values } from "../float.ts";
import type { GgmlName } from "./types.ts";

/**
 * Dequantizes blocks that lie one after another.
 * @param bytes `count` blocks from byte `at`
 * @param out receives their values from `to`
 */
type Dequantize = (
  bytes: Uint8Array,
  at: number,
  count: number,
  out: Float32Array,
  to: number,
) => void;

/** Types whose values `dequantize` has to make. */
export type BlockName = Exclude<GgmlName, "F32" | "F16" | "BF16">;

/** Values of IQ4's 4-bit codes. */
export const IQ4_VALUES: readonly number[] = [
  -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

const half = (bytes: Uint8Array, at: number): number =>
  f16Values()[bytes[at]! | (bytes[at + 1]! << 8)]!;

/** Q4_0, Q4_1, IQ4_NL: columns j and j + 16 share a byte. */
function fourBits(
  blockBytes: number,
  toValue: (code: number) => number,
  hasMinimum: boolean,
): Dequantize {
  const codes = Float64Array.from({ length: 16 }, (_, code) => toValue(code));
  return (bytes, at, count, out, to) => {
    for (let block = 0; block < count; block++) {
      const d = half(bytes, at);
      const m = hasMinimum ? half(bytes, at + 2) : 0;
      const q = at + (hasMinimum ? 4 : 2);
      for (let j = 0; j < 16; j++) {
        const byte = bytes[q + j]!;
        out[to + j] = d * codes[byte & 15]! + m;
        out[to + j + 16] = d * codes[byte >> 4]! + m;
      }
      at += blockBytes;
      to += 32;
    }
  };
}

/** Q5_0, Q5_1: as with four bits, and the fifth ones in a word. */
function fiveBits(blockBytes: number, zero: number, hasMinimum: boolean): Dequantize {
  return (bytes, at, count, out, to) => {
    for (let block = 0; block < count; block++) {
      const d = half(bytes, at);
      const m = hasMinimum ? half(bytes, at + 2) : 0;
      const high = at + (hasMinimum ? 4 : 2);
      for (let j = 0; j < 16; j++) {
        const byte = bytes[high + 4 + j]!;
        const low = ((bytes[high + (j >> 3)]! >> (j & 7)) & 1) << 4;
        const top = ((bytes[high + 2 + (j >> 3)]! >> (j & 7)) & 1) << 4;
        out[to + j] = d * (((byte & 15) | low) - zero) + m;
        out[to + j + 16] = d * (((byte >> 4) | top) - zero) + m;
      }
      at += blockBytes;
      to += 32;
    }
  };
}

const q8_0: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at);
    for (let j = 0; j < 32; j++) out[to + j] = d * ((bytes[at + 2 + j]! << 24) >> 24);
    at += 34;
    to += 32;
  }
};

/** 16 times 16 values: scale and minimum of 4 bits each. */
const q2_K: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at + 80);
    const dmin = half(bytes, at + 82);
    for (let part = 0; part < 16; part++) {
      const scale = bytes[at + part]!;
      const dl = d * (scale & 15);
      const m = dmin * (scale >> 4);
      const q = at + 16 + (part >> 3) * 32 + (part & 1) * 16;
      const shift = ((part >> 1) & 3) * 2;
      for (let j = 0; j < 16; j++) out[to++] = dl * ((bytes[q + j]! >> shift) & 3) - m;
    }
    at += 84;
  }
};

/** 16 times 16 values: a scale of 6 bits; third bits of the codes in a mask, whose absence subtracts 4. */
const q3_K: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at + 108);
    for (let part = 0; part < 16; part++) {
      const dl = d * (sixBitScale(bytes, at + 96, part) - 32);
      const column = (part & 1) * 16;
      const q = at + 32 + (part >> 3) * 32 + column;
      const shift = ((part >> 1) & 3) * 2;
      const bit = part >> 1;
      for (let j = 0; j < 16; j++) {
        const high = ((bytes[at + column + j]! >> bit) & 1) << 2;
        out[to++] = dl * (((bytes[q + j]! >> shift) & 3) + high - 4);
      }
    }
    at += 110;
  }
};

/** Scale `i` of Q3_K's 16: four low bits in 8 bytes, two high ones in the 4 behind. */
function sixBitScale(bytes: Uint8Array, at: number, i: number): number {
  const low = i < 8 ? bytes[at + i]! & 15 : bytes[at + i - 8]! >> 4;
  return low | (((bytes[at + 8 + (i & 3)]! >> (2 * (i >> 2))) & 3) << 4);
}

/** Scale `i` of Q4_K's and Q5_K's 8, of 6 bits. */
export function scaleK(bytes: Uint8Array, at: number, i: number): number {
  if (i < 4) return bytes[at + i]! & 63;
  return (bytes[at + i + 4]! & 15) | ((bytes[at + i - 4]! >> 6) << 4);
}

/** Minimum `i` of the same 12 bytes. */
export function minimumK(bytes: Uint8Array, at: number, i: number): number {
  if (i < 4) return bytes[at + i + 4]! & 63;
  return (bytes[at + i + 4]! >> 4) | ((bytes[at + i]! >> 6) << 4);
}

/** 8 times 32 values; parts 2i and 2i + 1 share bytes. */
const q4_K: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at);
    const dmin = half(bytes, at + 2);
    for (let part = 0; part < 8; part++) {
      const dl = d * scaleK(bytes, at + 4, part);
      const m = dmin * minimumK(bytes, at + 4, part);
      const q = at + 16 + (part >> 1) * 32;
      const shift = (part & 1) * 4;
      for (let j = 0; j < 32; j++) out[to++] = dl * ((bytes[q + j]! >> shift) & 15) - m;
    }
    at += 144;
  }
};

const q5_K: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at);
    const dmin = half(bytes, at + 2);
    for (let part = 0; part < 8; part++) {
      const dl = d * scaleK(bytes, at + 4, part);
      const m = dmin * minimumK(bytes, at + 4, part);
      const high = at + 16;
      const q = at + 48 + (part >> 1) * 32;
      const shift = (part & 1) * 4;
      for (let j = 0; j < 32; j++) {
        const top = ((bytes[high + j]! >> part) & 1) << 4;
        out[to++] = dl * (((bytes[q + j]! >> shift) & 15) | top) - m;
      }
    }
    at += 176;
  }
};

/** 16 times 16 values; four columns of a half share three bytes. */
const q6_K: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at + 208);
    for (let part = 0; part < 16; part++) {
      const dl = d * ((bytes[at + 192 + part]! << 24) >> 24);
      const quarter = (part >> 1) & 3;
      const column = (part & 1) * 16;
      const low = at + (part >> 3) * 64 + (quarter & 1) * 32 + column;
      const high = at + 128 + (part >> 3) * 32 + column;
      const lowShift = (quarter >> 1) * 4;
      for (let j = 0; j < 16; j++) {
        const code =
          ((bytes[low + j]! >> lowShift) & 15) | (((bytes[high + j]! >> (2 * quarter)) & 3) << 4);
        out[to++] = dl * (code - 32);
      }
    }
    at += 210;
  }
};

/** Scale `i` of IQ4_XS's 8: two bits in a word, four in the bytes behind it. */
export function scaleIq4(bytes: Uint8Array, at: number, i: number): number {
  const high = ((bytes[at]! | (bytes[at + 1]! << 8)) >> (2 * i)) & 3;
  const low = (bytes[at + 2 + (i >> 1)]! >> ((i & 1) * 4)) & 15;
  return (low | (high << 4)) - 32;
}

const iq4_XS: Dequantize = (bytes, at, count, out, to) => {
  for (let block = 0; block < count; block++) {
    const d = half(bytes, at);
    for (let part = 0; part < 8; part++) {
      const dl = d * scaleIq4(bytes, at + 2, part);
      const q = at + 8 + part * 16;
      for (let j = 0; j < 16; j++) {
        const byte = bytes[q + j]!;
        out[to + j] = dl * IQ4_VALUES[byte & 15]!;
        out[to + j + 16] = dl * IQ4_VALUES[byte >> 4]!;
      }
      to += 32;
    }
    at += 136;
  }
};

const DEQUANTIZE: Readonly<Record<BlockName, Dequantize>> = {
  Q4_0: fourBits(18, (code) => code - 8, false),
  Q4_1: fourBits(20, (code) => code, true),
  Q5_0: fiveBits(22, 16, false),
  Q5_1: fiveBits(24, 0, true),
  Q8_0: q8_0,
  Q2_K: q2_K,
  Q3_K: q3_K,
  Q4_K: q4_K,
  Q5_K: q5_K,
  Q6_K: q6_K,
  IQ4_NL: fourBits(18, (code) => IQ4_VALUES[code]!, false),
  IQ4_XS: iq4_XS,
};

/**
 * Dequantizes `count` blocks of a type.
 * @param bytes the blocks
 * @param out receives their values
 */
export function dequantize(
  name: BlockName,
  bytes: Uint8Array,
  count: number,
  out: Float32Array,
): void {
  DEQUANTIZE[name](bytes, 0, count, out, 0);
}
