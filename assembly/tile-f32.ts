// The f32 product that attention and the backward pass are made of: 4 rows × 8 columns of out = X W, summed with k ascending.
//   out[i][c] = Σ_k x_i[k] · w[k][c]

/**
 * out          [4, 8] f32
 * w            8 f32 per k, wStep bytes apart
 * x0..x3       1 f32 per k, xStep bytes apart
 * count        number of k
 */
export function tile_4x8(
  out: usize,
  w: usize,
  wStep: usize,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  xStep: usize,
  count: i32,
): void {
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  for (; count > 0; count--) {
    const wa = v128.load(w);
    const wb = v128.load(w, 16);
    const v0 = v128.load_splat<f32>(x0);
    a0 = f32x4.add(a0, f32x4.mul(wa, v0));
    b0 = f32x4.add(b0, f32x4.mul(wb, v0));
    const v1 = v128.load_splat<f32>(x1);
    a1 = f32x4.add(a1, f32x4.mul(wa, v1));
    b1 = f32x4.add(b1, f32x4.mul(wb, v1));
    const v2 = v128.load_splat<f32>(x2);
    a2 = f32x4.add(a2, f32x4.mul(wa, v2));
    b2 = f32x4.add(b2, f32x4.mul(wb, v2));
    const v3 = v128.load_splat<f32>(x3);
    a3 = f32x4.add(a3, f32x4.mul(wa, v3));
    b3 = f32x4.add(b3, f32x4.mul(wb, v3));
    w += wStep;
    x0 += xStep;
    x1 += xStep;
    x2 += xStep;
    x3 += xStep;
  }
  v128.store(out, a0);
  v128.store(out, b0, 16);
  v128.store(out, a1, 32);
  v128.store(out, b1, 48);
  v128.store(out, a2, 64);
  v128.store(out, b2, 80);
  v128.store(out, a3, 96);
  v128.store(out, b3, 112);
}
