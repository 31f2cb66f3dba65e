// Conversions between the float types of weight files and f32. Pure functions over typed arrays; no other module knows bit
// layouts. Files are little-endian, and so is every host that runs WebAssembly.
import { TureenError } from "../errors.ts";
import type { DType } from "./checkpoint.ts";

/** Float types that weights may have. */
export type FloatDType = "F32" | "F16" | "BF16";

/** Whether a tensor of this type can be read as f32 weights. */
export function isFloatDType(dtype: DType): dtype is FloatDType {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16";
}

/**
 * Little-endian floats to f32, exactly: every F16 and BF16 value is an f32 value, NaN payloads included.
 * @param bytes whole elements; any alignment
 * @returns may be a view of `bytes` (aligned F32): do not write to it
 * @throws TureenError `FORMAT_UNSUPPORTED` for any other type, `FORMAT_INVALID` if an element is cut
 */
export function toFloat32(bytes: Uint8Array, dtype: DType): Float32Array {
  if (!isFloatDType(dtype)) {
    throw new TureenError("FORMAT_UNSUPPORTED", "weights of this type cannot be read", {
      expected: "F32, F16 or BF16",
      found: dtype,
      hint: "Convert the file to one of these types.",
    });
  }
  const width = dtype === "F32" ? 4 : 2;
  if (bytes.byteLength % width !== 0) {
    throw new TureenError("FORMAT_INVALID", `the last ${dtype} element is cut`, {
      expected: `a multiple of ${width} bytes`,
      found: `${bytes.byteLength} bytes`,
    });
  }
  const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes);
  const length = bytes.byteLength / width;
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, length);
  const halves = new Uint16Array(buffer, byteOffset, length);
  return dtype === "F16" ? widenF16(halves) : widenBf16(halves);
}

/**
 * f32 to little-endian floats, rounded to nearest, ties to even. Values beyond the type's range become infinite; NaN stays
 * NaN.
 * @returns bytes of its own
 */
export function fromFloat32(values: Float32Array, dtype: FloatDType): Uint8Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  if (dtype === "F32") return new Uint8Array(bits.slice().buffer);
  const halves = new Uint16Array(values.length);
  const narrow = dtype === "F16" ? narrowToF16 : narrowToBf16;
  for (let i = 0; i < bits.length; i++) halves[i] = narrow(bits[i]!);
  return new Uint8Array(halves.buffer);
}

/** Index of the first NaN or infinity, or -1. */
export function findNotFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    if ((bits[i]! & 0x7f80_0000) === 0x7f80_0000) return i;
  }
  return -1;
}

/** f32 bits of every F16 value; 256 KiB, made on first use. */
let f16Table: Uint32Array | undefined;
let f16Floats: Float32Array | undefined;

/** What each F16 stands for, by its bits. */
export function f16Values(): Float32Array {
  f16Table ??= makeF16Table();
  f16Floats ??= new Float32Array(f16Table.buffer);
  return f16Floats;
}

function widenF16(halves: Uint16Array): Float32Array {
  f16Table ??= makeF16Table();
  const table = f16Table;
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = table[halves[i]!]!;
  return new Float32Array(bits.buffer);
}

function widenBf16(halves: Uint16Array): Float32Array {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
  return new Float32Array(bits.buffer);
}

/** IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
function makeF16Table(): Uint32Array {
  const table = new Uint32Array(0x1_0000);
  const values = new Float32Array(table.buffer);
  for (let half = 0; half < 0x8000; half++) {
    const exponent = half >> 10;
    const fraction = half & 0x3ff;
    if (exponent === 0) values[half] = fraction * 2 ** -24;
    else if (exponent === 31) table[half] = 0x7f80_0000 | (fraction << 13);
    else table[half] = ((exponent - 15 + 127) << 23) | (fraction << 13);
    table[half | 0x8000] = table[half]! | 0x8000_0000;
  }
  return table;
}

/** f32 bits to F16 bits. */
function narrowToF16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fff_ffff;
  if (magnitude > 0x7f80_0000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff); // NaN, made quiet
  if (magnitude >= 0x4780_0000) return sign | 0x7c00; // 65536 and more
  if (magnitude >= 0x3880_0000) {
    // 2^-14 and more: normal. A carry out of the fraction rightly raises the exponent, up to infinity.
    const rebiased = magnitude - (112 << 23);
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13);
  }
  if (magnitude <= 0x3300_0000) return sign; // 2^-25 ties to zero
  // Subnormal: a multiple of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  const significand = (magnitude & 0x7f_ffff) | 0x80_0000;
  const whole = significand >>> shift;
  const rest = significand - (whole << shift);
  const half = 1 << (shift - 1);
  const up = rest > half || (rest === half && (whole & 1) === 1);
  return sign | (up ? whole + 1 : whole);
}

/** f32 bits to BF16 bits: the upper half, rounded. */
function narrowToBf16(bits: number): number {
  if ((bits & 0x7fff_ffff) > 0x7f80_0000) return (bits >>> 16) | 0x40; // NaN, made quiet
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
