// Half-precision floats in four lanes. Shifted into place, a half is its value × 2^-112 as a float, subnormals included.

/** 2^112 */
const UP: u32 = 0x77800000;
/** 2^-112 */
const DOWN: u32 = 0x07800000;
/** The largest finite half, 65504. */
const LARGEST: u32 = 0x477fe000;

/** bits: one half per lane, zero-extended. Exact; infinities and NaNs keep an all-ones exponent. */
export function half_to_f32(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  const special = i32x4.ge_s(magnitude, i32x4.splat(0x0f800000));
  const value = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(UP)));
  return v128.or(v128.or(value, v128.and(special, i32x4.splat(0x7f800000))), sign);
}

/** A number of type f32, i16 (f16) or u16 (bf16). */
export function load_float<W>(from: usize): f32 {
  if (isFloat<W>()) return load<f32>(from);
  const bits = i32x4.splat(load<u16>(from));
  return f32x4.extract_lane(isSigned<W>() ? half_to_f32(bits) : i32x4.shl(bits, 16), 0);
}

/** bits: one finite half per lane, sign-extended. mask and factor: `half_mask` and `half_factor`, held in registers. */
export function finite_half_to_f32(bits: v128, mask: v128, factor: v128): v128 {
  return f32x4.mul(v128.and(i32x4.shl(bits, 13), mask), factor);
}

// From a number that is not negative, as in layout.ts: what compilers know they build anew at every use.

export function half_mask(count: i32): v128 {
  return i32x4.splat(i32(0x8fffe000) | (count >> 31));
}

export function half_factor(count: i32): v128 {
  return i32x4.splat(i32(UP) | (count >> 31));
}

/** The nearest half, ties to even, in the low 16 bits of each lane; beyond ±65504 the largest. */
export function f32_to_half(value: v128): v128 {
  const sign = v128.and(i32x4.shr_u(value, 16), i32x4.splat(0x8000));
  const magnitude = f32x4.pmin(f32x4.abs(value), f32x4.splat(reinterpret<f32>(LARGEST)));
  const scaled = shift_to_half(magnitude);
  const odd = v128.and(i32x4.shr_u(scaled, 13), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(scaled, i32x4.add(odd, i32x4.splat(0xfff))), 13);
  return v128.or(rounded, sign);
}

/** × 2^-112, cut off rather than rounded, its last bit set if anything was lost: rounded once only, subnormals, too. */
function shift_to_half(magnitude: v128): v128 {
  const near = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(DOWN)));
  const back = f32x4.mul(near, f32x4.splat(reinterpret<f32>(UP)));
  const cut = i32x4.add(near, f32x4.gt(back, magnitude));
  return v128.or(cut, v128.and(f32x4.ne(back, magnitude), i32x4.splat(1)));
}
