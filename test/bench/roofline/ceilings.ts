// What this machine's 128-bit lanes can do in WebAssembly, without any kernel around: loops of nothing but the instructions that
// the kernels live from, on operands in registers. Each leaves its sums at `out`, so that no compiler drops the work.

/**
 * Reads nBytes (a multiple of 256) as four streams side by side, each with its own sum, so that neither a processor's prefetching
 * of one stream nor the sums are what limits it.
 */
export function read(out: usize, from: usize, nBytes: usize): void {
  const stream = nBytes >> 2;
  let a = i64x2.splat(0);
  let b = a;
  let c = a;
  let d = a;
  for (const end = from + stream; from < end; from += 64) {
    const second = from + stream;
    const third = second + stream;
    const fourth = third + stream;
    a = v128.xor(a, v128.xor(v128.load(from), v128.load(from, 16)));
    a = v128.xor(a, v128.xor(v128.load(from, 32), v128.load(from, 48)));
    b = v128.xor(b, v128.xor(v128.load(second), v128.load(second, 16)));
    b = v128.xor(b, v128.xor(v128.load(second, 32), v128.load(second, 48)));
    c = v128.xor(c, v128.xor(v128.load(third), v128.load(third, 16)));
    c = v128.xor(c, v128.xor(v128.load(third, 32), v128.load(third, 48)));
    d = v128.xor(d, v128.xor(v128.load(fourth), v128.load(fourth, 16)));
    d = v128.xor(d, v128.xor(v128.load(fourth, 32), v128.load(fourth, 48)));
  }
  v128.store(out, v128.xor(v128.xor(a, b), v128.xor(c, d)));
}

/**
 * turns × 12 × (4 products and 4 sums): twelve chains, as many as hide the latency of both. Values stay near
 * 2, and differ, so that no two chains are one.
 */
export function f32_multiply_add(out: usize, turns: i32): void {
  // Through memory: V8 makes a vector constant anew at every use.
  v128.store(out, f32x4.splat(0.5));
  v128.store(out, f32x4.splat(1), 16);
  const half = v128.load(out);
  const one = v128.load(out, 16);
  let a = f32x4.splat(1);
  let b = f32x4.splat(1.01);
  let c = f32x4.splat(1.02);
  let d = f32x4.splat(1.03);
  let e = f32x4.splat(1.04);
  let f = f32x4.splat(1.05);
  let g = f32x4.splat(1.06);
  let h = f32x4.splat(1.07);
  let i = f32x4.splat(1.08);
  let j = f32x4.splat(1.09);
  let k = f32x4.splat(1.1);
  let l = f32x4.splat(1.11);
  for (; turns > 0; turns--) {
    a = f32x4.add(f32x4.mul(a, half), one);
    b = f32x4.add(f32x4.mul(b, half), one);
    c = f32x4.add(f32x4.mul(c, half), one);
    d = f32x4.add(f32x4.mul(d, half), one);
    e = f32x4.add(f32x4.mul(e, half), one);
    f = f32x4.add(f32x4.mul(f, half), one);
    g = f32x4.add(f32x4.mul(g, half), one);
    h = f32x4.add(f32x4.mul(h, half), one);
    i = f32x4.add(f32x4.mul(i, half), one);
    j = f32x4.add(f32x4.mul(j, half), one);
    k = f32x4.add(f32x4.mul(k, half), one);
    l = f32x4.add(f32x4.mul(l, half), one);
  }
  const abc = v128.xor(v128.xor(a, b), v128.xor(c, d));
  const def = v128.xor(v128.xor(e, f), v128.xor(g, h));
  v128.store(out, v128.xor(v128.xor(abc, def), v128.xor(v128.xor(i, j), v128.xor(k, l))));
}

/** turns × 6 × (8 products, 4 pair sums, 4 sums): int16 to int32. */
export function i16_dot(out: usize, turns: i32, from: usize): void {
  const x0 = v128.load(from);
  const x1 = v128.load(from, 16);
  const x2 = v128.load(from, 32);
  const x3 = v128.load(from, 48);
  const x4 = v128.load(from, 64);
  const x5 = v128.load(from, 80);
  let a = i32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let e = a;
  let f = a;
  for (; turns > 0; turns--) {
    const w = v128.load(from + ((turns & 63) << 4));
    a = i32x4.add(a, i32x4.dot_i16x8_s(w, x0));
    b = i32x4.add(b, i32x4.dot_i16x8_s(w, x1));
    c = i32x4.add(c, i32x4.dot_i16x8_s(w, x2));
    d = i32x4.add(d, i32x4.dot_i16x8_s(w, x3));
    e = i32x4.add(e, i32x4.dot_i16x8_s(w, x4));
    f = i32x4.add(f, i32x4.dot_i16x8_s(w, x5));
  }
  v128.store(out, v128.xor(v128.xor(v128.xor(a, b), v128.xor(c, d)), v128.xor(e, f)));
}

/** turns × 6 × (16 products, 8 pair sums, 8 sums): int8 to int16, which the caller of such a loop widens once per block. */
export function i8_dot(out: usize, turns: i32, from: usize): void {
  if (!ASC_FEATURE_RELAXED_SIMD) return;
  const x0 = v128.load(from);
  const x1 = v128.load(from, 16);
  const x2 = v128.load(from, 32);
  const x3 = v128.load(from, 48);
  const x4 = v128.load(from, 64);
  const x5 = v128.load(from, 80);
  let a = i16x8.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let e = a;
  let f = a;
  for (; turns > 0; turns--) {
    const w = v128.load(from + ((turns & 63) << 4));
    a = i16x8.add(a, i16x8.relaxed_dot_i8x16_i7x16_s(x0, w));
    b = i16x8.add(b, i16x8.relaxed_dot_i8x16_i7x16_s(x1, w));
    c = i16x8.add(c, i16x8.relaxed_dot_i8x16_i7x16_s(x2, w));
    d = i16x8.add(d, i16x8.relaxed_dot_i8x16_i7x16_s(x3, w));
    e = i16x8.add(e, i16x8.relaxed_dot_i8x16_i7x16_s(x4, w));
    f = i16x8.add(f, i16x8.relaxed_dot_i8x16_i7x16_s(x5, w));
  }
  v128.store(out, v128.xor(v128.xor(v128.xor(a, b), v128.xor(c, d)), v128.xor(e, f)));
}

/** turns × 6 × (16 products, 12 pair sums, 4 sums): int8 to int32, widened by every instruction. */
export function i8_dot_widening(out: usize, turns: i32, from: usize): void {
  if (!ASC_FEATURE_RELAXED_SIMD) return;
  const x0 = v128.load(from);
  const x1 = v128.load(from, 16);
  const x2 = v128.load(from, 32);
  const x3 = v128.load(from, 48);
  const x4 = v128.load(from, 64);
  const x5 = v128.load(from, 80);
  let a = i32x4.splat(0);
  let b = a;
  let c = a;
  let d = a;
  let e = a;
  let f = a;
  for (; turns > 0; turns--) {
    const w = v128.load(from + ((turns & 63) << 4));
    a = i32x4.relaxed_dot_i8x16_i7x16_add_s(x0, w, a);
    b = i32x4.relaxed_dot_i8x16_i7x16_add_s(x1, w, b);
    c = i32x4.relaxed_dot_i8x16_i7x16_add_s(x2, w, c);
    d = i32x4.relaxed_dot_i8x16_i7x16_add_s(x3, w, d);
    e = i32x4.relaxed_dot_i8x16_i7x16_add_s(x4, w, e);
    f = i32x4.relaxed_dot_i8x16_i7x16_add_s(x5, w, f);
  }
  v128.store(out, v128.xor(v128.xor(v128.xor(a, b), v128.xor(c, d)), v128.xor(e, f)));
}
