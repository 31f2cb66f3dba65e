// The f32 products that attention and the backward pass are made of: out = X W, summed with k ascending.
//   out[i][c] = Σ_k x_i[k] · w[k][c]
// Type parameter: that of w, f32 or u16 (half-precision floats); 8 values of it lie side by side per k.
import { finite_half_to_f32, half_factor, half_mask } from "./half";

/**
 * 4 rows × 8 columns, rows of x apart.
 * out          4 rows of 8 f32, outStep bytes apart
 * w            8 f32 per k, wStep bytes apart
 * x0..x3       1 f32 per k, xStep bytes apart
 * count        number of k
 */
export function tile_4x8(
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
  store_8(out, a0, b0);
  store_8(out + outStep, a1, b1);
  store_8(out + 2 * outStep, a2, b2);
  store_8(out + 3 * outStep, a3, b3);
}

/**
 * 4 rows × 8 columns, rows of x interleaved.
 * out0..out3   8 f32 each
 * w            [count, 8]
 * x            [count, 4] f32
 */
export function tile_4x8_panel<T>(
  out0: usize,
  out1: usize,
  out2: usize,
  out3: usize,
  w: usize,
  x: usize,
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
  for (const end = x + (usize(count) << 4); x < end; x += 16) {
    const wa = load_4<T>(w, mask, factor);
    const wb = load_4<T>(w + 4 * sizeof<T>(), mask, factor);
    const v0 = v128.load_splat<f32>(x);
    a0 = f32x4.add(a0, f32x4.mul(wa, v0));
    b0 = f32x4.add(b0, f32x4.mul(wb, v0));
    const v1 = v128.load_splat<f32>(x, 4);
    a1 = f32x4.add(a1, f32x4.mul(wa, v1));
    b1 = f32x4.add(b1, f32x4.mul(wb, v1));
    const v2 = v128.load_splat<f32>(x, 8);
    a2 = f32x4.add(a2, f32x4.mul(wa, v2));
    b2 = f32x4.add(b2, f32x4.mul(wb, v2));
    const v3 = v128.load_splat<f32>(x, 12);
    a3 = f32x4.add(a3, f32x4.mul(wa, v3));
    b3 = f32x4.add(b3, f32x4.mul(wb, v3));
    w += 8 * sizeof<T>();
  }
  store_8(out0, a0, b0);
  store_8(out1, a1, b1);
  store_8(out2, a2, b2);
  store_8(out3, a3, b3);
}

/**
 * 1 row × 4 times 8 columns: four streams through memory, as in linear.ts.
 * out          8 f32 each at 0, apart1, apart2, apart3 × 32 bytes
 * w            [count, 8] each at 0, apart1, apart2, apart3 × step bytes
 * x            [count] f32
 */
export function tile_1x32<T>(
  out: usize,
  w: usize,
  step: usize,
  apart1: i32,
  apart2: i32,
  apart3: i32,
  x: usize,
  count: i32,
): void {
  let w1 = w + usize(apart1) * step;
  let w2 = w + usize(apart2) * step;
  let w3 = w + usize(apart3) * step;
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
  for (const end = x + (usize(count) << 2); x < end; x += 4) {
    const v = v128.load_splat<f32>(x);
    a0 = f32x4.add(a0, f32x4.mul(load_4<T>(w, mask, factor), v));
    b0 = f32x4.add(b0, f32x4.mul(load_4<T>(w + 4 * sizeof<T>(), mask, factor), v));
    w += 8 * sizeof<T>();
    a1 = f32x4.add(a1, f32x4.mul(load_4<T>(w1, mask, factor), v));
    b1 = f32x4.add(b1, f32x4.mul(load_4<T>(w1 + 4 * sizeof<T>(), mask, factor), v));
    w1 += 8 * sizeof<T>();
    a2 = f32x4.add(a2, f32x4.mul(load_4<T>(w2, mask, factor), v));
    b2 = f32x4.add(b2, f32x4.mul(load_4<T>(w2 + 4 * sizeof<T>(), mask, factor), v));
    w2 += 8 * sizeof<T>();
    a3 = f32x4.add(a3, f32x4.mul(load_4<T>(w3, mask, factor), v));
    b3 = f32x4.add(b3, f32x4.mul(load_4<T>(w3 + 4 * sizeof<T>(), mask, factor), v));
    w3 += 8 * sizeof<T>();
  }
  store_8(out, a0, b0);
  store_8(out + (apart1 << 5), a1, b1);
  store_8(out + (apart2 << 5), a2, b2);
  store_8(out + (apart3 << 5), a3, b3);
}

/** Rows to [count, 4] f32: what `tile_4x8_panel` reads. count is rounded up to 4: rows and panel have room for it. */
export function interleave(
  panel: usize,
  x0: usize,
  x1: usize,
  x2: usize,
  x3: usize,
  count: i32,
): void {
  for (let k = 0; k < count; k += 4) {
    const at = usize(k) << 2;
    const a = v128.load(x0 + at);
    const b = v128.load(x1 + at);
    const c = v128.load(x2 + at);
    const d = v128.load(x3 + at);
    const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
    const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
    const to = panel + (at << 2);
    v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
    v128.store(to, v128.shuffle<i64>(ab, cd, 1, 3), 16);
    const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
    const cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
    v128.store(to, v128.shuffle<i64>(ab2, cd2, 0, 2), 32);
    v128.store(to, v128.shuffle<i64>(ab2, cd2, 1, 3), 48);
  }
}

function load_4<T>(from: usize, mask: v128, factor: v128): v128 {
  if (isFloat<T>()) return v128.load(from);
  return finite_half_to_f32(v128.load_ext<i16>(from), mask, factor);
}

function store_8(out: usize, a: v128, b: v128): void {
  v128.store(out, a);
  v128.store(out, b, 16);
}
