// e^x in four lanes, by IEEE arithmetic alone, so that every host gives the same bits.
// x = k ln 2 + r with |r| <= ln 2 / 2; e^r by the degree-6 polynomial of Cephes `expf`; then k is added to the exponent.
// Relative error below 1.2e-7 over -87.3..88.3. Below that the result is 0, above it infinity.

export function exp_f32x4(x: v128): v128 {
  const tiny = f32x4.lt(x, f32x4.splat(-87.3));
  const huge = f32x4.gt(x, f32x4.splat(88.3));
  x = f32x4.pmin(f32x4.pmax(x, f32x4.splat(-87.3)), f32x4.splat(88.3));
  const k = f32x4.nearest(f32x4.mul(x, f32x4.splat(f32(Math.LOG2E))));
  let r = f32x4.sub(x, f32x4.mul(k, f32x4.splat(0.693359375)));
  r = f32x4.sub(r, f32x4.mul(k, f32x4.splat(-2.1219444e-4)));
  let p = f32x4.splat(1.98756915e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(0.5));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(k), i32x4.splat(127)), 23);
  const value = v128.andnot(f32x4.mul(p, power), tiny);
  return v128.bitselect(f32x4.splat(Infinity), value, huge);
}

/** out[i] = e^x[i], for tests. count: a multiple of 4. */
export function exp_f32(out: usize, x: usize, count: i32): void {
  for (let i = 0; i < count; i += 4) v128.store(out + (i << 2), exp_f32x4(v128.load(x + (i << 2))));
}
