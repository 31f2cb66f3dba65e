// The end of an int8 dot product by way of int16: `i32x4.dot_i16x8_s` leaves two partial sums per row, side by side.

/** Adds the two partial sums of each row: lo = [r0, r0, r1, r1], hi = [r2, r2, r3, r3]. */
export function sum_pairs(lo: v128, hi: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(lo, hi, 0, 2, 4, 6), v128.shuffle<i32>(lo, hi, 1, 3, 5, 7));
}
