// What the four lanes of a vector have in common, and rounding in all of them.

export function least(x: v128): f32 {
  return min(
    min(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    min(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

export function greatest(x: v128): f32 {
  return max(
    max(f32x4.extract_lane(x, 0), f32x4.extract_lane(x, 1)),
    max(f32x4.extract_lane(x, 2), f32x4.extract_lane(x, 3)),
  );
}

/** 1.5 · 2^23 in every lane, made from a positive number so that no compiler builds it anew for every use (layout.ts). */
export function round_magic(positive: i32): v128 {
  return i32x4.splat(0x4b400000 | (positive >> 31));
}

/** Nearest integers, ties to even, of |value| < 2^22: adding `round_magic` leaves no room for a fraction. */
export function round_to_i32(value: v128, magic: v128): v128 {
  return i32x4.sub(f32x4.add(value, magic), magic);
}
