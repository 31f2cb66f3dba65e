// e^x in four lanes, by IEEE arithmetic alone, so that every host gives the same bits.
// x = k ln 2 + r with |r| <= ln 2 / 2; e^r by the degree-6 polynomial of Cephes `expf`; then times 2^k, which is 0 from
// k = -127 down (x below -87.68) and infinity from k = 128 up (x above 88.37).
// Relative error below 1.2e-7 over -87.33..88.37; between the two lower bounds results are subnormal.
//
// Constants are loaded, each splat by the load: V8 builds constant vectors anew for every use, three instructions each.

const CONSTANTS = memory.data<f32>([
  -88, // k = -127
  88.4, // k = 128
  Math.LOG2E as f32,
  12583039, // 1.5 · 2^23 + 127: a sum with it has no fraction, and k's biased exponent in its last bits
  0.693359375, // ln 2, its upper bits
  -2.1219444e-4, // and the rest
  1.98756915e-4,
  1.3981999507e-3,
  8.3334519073e-3,
  4.1665795894e-2,
  1.6666665459e-1,
]);

export function exp_f32x4(x: v128): v128 {
  x = f32x4.pmin(f32x4.pmax(x, constant(0)), constant(1));
  const biased = f32x4.add(f32x4.mul(x, constant(2)), constant(3));
  const k = f32x4.sub(biased, constant(3));
  const r = f32x4.sub(f32x4.sub(x, f32x4.mul(k, constant(4))), f32x4.mul(k, constant(5)));
  let p = f32x4.add(f32x4.mul(constant(6), r), constant(7));
  p = f32x4.add(f32x4.mul(p, r), constant(8));
  p = f32x4.add(f32x4.mul(p, r), constant(9));
  p = f32x4.add(f32x4.mul(p, r), constant(10));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(0.5));
  p = f32x4.add(f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), r), f32x4.splat(1));
  return f32x4.mul(p, i32x4.shl(biased, 23));
}

function constant(index: usize): v128 {
  return v128.load_splat<f32>(CONSTANTS + (index << 2));
}

/** out[i] = e^x[i], for tests. count: a multiple of 4. */
export function exp_f32(out: usize, x: usize, count: i32): void {
  for (let i = 0; i < count; i += 4) v128.store(out + (i << 2), exp_f32x4(v128.load(x + (i << 2))));
}
