// GGUF's blocks in the two layouts that backends pack as they are (backend/block-rows.ts), for the types whose numbers have a place
// there: q8 keeps the integers and scales of Q8_0, Q5_0 and IQ4_* exactly; q4 keeps the 4-bit numbers of Q4_0, Q4_1 and Q4_K, and
// their scales and minimums rounded to the nearest bf16.
import { f16Values } from "../float.ts";
import { IQ4_VALUES, minimumK, scaleIq4, scaleK } from "./blocks.ts";
import type { GgmlName } from "./types.ts";

/** Where blocks are written, as bytes and as what is in them. */
interface Out {
  readonly bytes: Uint8Array;
  /** Two bytes at a time, of what is read and written: every block and part begins at an even place. */
  readonly from: Uint16Array;
  readonly to: Uint16Array;
  readonly view: DataView;
  /** The next block. */
  at: number;
}

type Convert = (bytes: Uint8Array, at: number, out: Out) => void;

interface Conversion {
  readonly dtype: "Q8" | "Q4";
  /** Bytes of a block of the file. */
  readonly bytes: number;
  readonly convert: Convert;
}

const half = (bytes: Uint8Array, at: number): number =>
  f16Values()[bytes[at]! | (bytes[at + 1]! << 8)]!;

function putQ8(out: Out, d: number): void {
  out.view.setFloat32(out.at, d, true);
}

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** The nearest bf16, ties to even, as its 16 bits. Scales are finite halves and small multiples of them. */
function toBf16(x: number): number {
  float[0] = x;
  const bits = floatBits[0]!;
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return 0x7fc0; // NaN, for the backend to refuse
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function putQ4(out: Out, d: number, m: number): void {
  out.view.setUint16(out.at, toBf16(d), true);
  out.view.setUint16(out.at + 2, toBf16(m), true);
}

/** Copies numbers as they are, behind the next block's scale. */
function copy({ from, to, at }: Out, start: number, nBytes: number): void {
  const [source, target] = [start >> 1, (at + 4) >> 1];
  for (let i = 0; i < nBytes >> 1; i++) to[target + i] = from[source + i]!;
}

const q8_0: Convert = (bytes, at, out) => {
  putQ8(out, half(bytes, at));
  copy(out, at + 2, 32);
  out.at += 36;
};

const q5_0: Convert = (bytes, at, out) => {
  putQ8(out, half(bytes, at));
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 6 + j]!;
    const low = ((bytes[at + 2 + (j >> 3)]! >> (j & 7)) & 1) << 4;
    const top = ((bytes[at + 4 + (j >> 3)]! >> (j & 7)) & 1) << 4;
    out.bytes[out.at + 4 + j] = ((byte & 15) | low) - 16;
    out.bytes[out.at + 20 + j] = ((byte >> 4) | top) - 16;
  }
  out.at += 36;
};

function putIq4(bytes: Uint8Array, q: number, out: Out): void {
  for (let j = 0; j < 16; j++) {
    const byte = bytes[q + j]!;
    out.bytes[out.at + 4 + j] = IQ4_VALUES[byte & 15]!;
    out.bytes[out.at + 20 + j] = IQ4_VALUES[byte >> 4]!;
  }
  out.at += 36;
}

const iq4_NL: Convert = (bytes, at, out) => {
  putQ8(out, half(bytes, at));
  putIq4(bytes, at + 2, out);
};

const iq4_XS: Convert = (bytes, at, out) => {
  const d = half(bytes, at);
  for (let part = 0; part < 8; part++) {
    putQ8(out, d * scaleIq4(bytes, at + 2, part)); // 17 bits: exact
    putIq4(bytes, at + 8 + part * 16, out);
  }
};

/** w = d (q - 8): the minimum is -8 of the scale as rounded, so that 0 stays 0. */
const q4_0: Convert = (bytes, at, out) => {
  float[0] = half(bytes, at);
  floatBits[0] = toBf16(float[0]) << 16;
  const d = float[0];
  putQ4(out, d, -8 * d);
  copy(out, at + 2, 16);
  out.at += 20;
};

const q4_1: Convert = (bytes, at, out) => {
  putQ4(out, half(bytes, at), half(bytes, at + 2));
  copy(out, at + 4, 16);
  out.at += 20;
};

/** Two parts share 32 bytes, one in the low halves, one in the high; here each has 16. */
const q4_K: Convert = (bytes, at, out) => {
  const d = half(bytes, at);
  const dmin = half(bytes, at + 2);
  for (let part = 0; part < 8; part++) {
    putQ4(out, d * scaleK(bytes, at + 4, part), -dmin * minimumK(bytes, at + 4, part));
    const q = at + 16 + (part >> 1) * 32;
    const shift = (part & 1) * 4;
    for (let j = 0; j < 16; j++) {
      const low = (bytes[q + j]! >> shift) & 15;
      out.bytes[out.at + 4 + j] = low | (((bytes[q + j + 16]! >> shift) & 15) << 4);
    }
    out.at += 20;
  }
};

const CONVERSIONS: Readonly<Partial<Record<GgmlName, Conversion>>> = {
  Q8_0: { dtype: "Q8", bytes: 34, convert: q8_0 },
  Q5_0: { dtype: "Q8", bytes: 22, convert: q5_0 },
  IQ4_NL: { dtype: "Q8", bytes: 18, convert: iq4_NL },
  IQ4_XS: { dtype: "Q8", bytes: 136, convert: iq4_XS },
  Q4_0: { dtype: "Q4", bytes: 18, convert: q4_0 },
  Q4_1: { dtype: "Q4", bytes: 20, convert: q4_1 },
  Q4_K: { dtype: "Q4", bytes: 144, convert: q4_K },
};

/** The layout that keeps a type's numbers; `undefined` if neither does. */
export function canonicalType(name: GgmlName): "Q8" | "Q4" | undefined {
  return CONVERSIONS[name]?.dtype;
}

/**
 * Writes blocks of a type in its canonical layout.
 * @param bytes whole blocks
 * @param into receives them; at an even place of its memory
 */
export function toCanonical(name: GgmlName, bytes: Uint8Array, into: Uint8Array): void {
  const conversion = CONVERSIONS[name];
  if (conversion === undefined) throw new Error(`${name} has no canonical layout`);
  const blocks = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
  const out = { bytes: into, from: pairsOf(blocks), to: pairsOf(into), view, at: 0 };
  for (let at = 0; at < blocks.length; at += conversion.bytes) conversion.convert(blocks, at, out);
}

function pairsOf({ buffer, byteOffset, byteLength }: Uint8Array): Uint16Array {
  return new Uint16Array(buffer, byteOffset, byteLength >> 1);
}
