// The f32 product that attention and the backward pass are made of: 4 rows × 8 columns of out = X W, summed with k ascending.
//   out[i][c] = Σ_k x_i[k] · w[k][c]
// Type parameter: that of w, f32 or u16 (half-precision floats).
import { finite_half_to_f32, half_factor, half_mask } from "./half";

/**
 * out          4 rows of 8 f32, outStep bytes apart
 * w            8 values per k, wStep bytes apart
 * x0..x3       1 f32 per k, xStep bytes apart
 * count        number of k
 */
export function tile_4x8<T>(
  out: usize,
  outStep: usize,
  w: usize,
  wStep: usize,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  xStep: usize,
  count: i32,
): void {
  const out2 = out + 2 * outStep;
  tile_4x8_rows<T>(
    out,
    out + outStep,
    out2,
    out2 + outStep,
    w,
    wStep,
    x0,
    x1,
    x2,
    x3,
    xStep,
    count,
  );
}

/** As tile_4x8, with the rows of out wherever they lie. */
export function tile_4x8_rows<T>(
  out0: usize,
  out1: usize,
  out2: usize,
  out3: usize,
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
  const mask = half_mask(count);
  const factor = half_factor(count);
  for (; count > 0; count--) {
    let wa: v128;
    let wb: v128;
    if (isFloat<T>()) {
      wa = v128.load(w);
      wb = v128.load(w, 16);
    } else {
      wa = finite_half_to_f32(v128.load_ext<i16>(w), mask, factor);
      wb = finite_half_to_f32(v128.load_ext<i16>(w, 8), mask, factor);
    }
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
  v128.store(out0, a0);
  v128.store(out0, b0, 16);
  v128.store(out1, a1);
  v128.store(out1, b1, 16);
  v128.store(out2, a2);
  v128.store(out2, b2, 16);
  v128.store(out3, a3);
  v128.store(out3, b3, 16);
}
