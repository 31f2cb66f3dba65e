// y = W x for q4 weights (w = d q + m, q in 0..15) and int8 activations. Per block of 32 columns:
//   y[t][r] += f32(Σ_k qw qx) · (dw[r][b] · dx[t][b]);  y[t][r] += mw[r][b] · s[t][b],  s = dx Σ_k qx
// blocks ascending. The first sum is an exact integer, so every tiling and build gives the same bits.
//
// baseline: nibbles widened to int16, `i32x4.dot_i16x8_s`.
// relaxed:  `i16x8.relaxed_dot_i8x16_i7x16_s` (pmaddubsw): its second operand, the nibbles, is in 0..15, so the specification
//           leaves one result. A pair is at most 2·127·15 = 3810 in magnitude, so the 8 quads of a block add up in int16
//           (30480) and are widened once per block: two instructions per 16 products.
import {
  BLOCK_BYTES_I8,
  BLOCK_BYTES_I16,
  block_count,
  last_pairs,
  panel_count,
  panel_token,
  q4_tile_bytes,
  split,
} from "./layout";
import { start_rows, store_rows } from "./store";
import { sum_pairs } from "./sum-pairs";

/**
 * out     [n, outStride] f32, outStride in elements
 * w       packed q4 weights [rows, cols]
 * x       packed int16 (relaxed: int8) panels; xToken bytes per token
 * bias    [rows] f32, or 0
 */
export function linear_q4(
  out: usize,
  outStride: i32,
  w: usize,
  x: usize,
  xToken: i32,
  n: i32,
  rows: i32,
  cols: i32,
  bias: usize,
  mode: i32,
  scale: f32,
  tid: i32,
  threads: i32,
): void {
  const panels = panel_count(n);
  const tiles = (rows + 7) >> 3;
  const blocks = block_count(cols);
  const lastPairs = last_pairs(cols);
  const tileBytes = q4_tile_bytes(cols);
  const end = split(tiles * panels, tid + 1, threads);
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const panel = unit % panels;
    const token = panel_token(panel, n);
    const tileOut = out + ((token * outStride + (tile << 3)) << 2);
    const tileW = w + usize(tile) * tileBytes;
    const tileX = x + usize(token) * xToken;
    const tileBias = bias ? bias + (tile << 5) : 0;
    const nRows = rows - (tile << 3);
    if (panel < n >> 2) {
      tile_4x4(tileOut, outStride, tileW, tileX, blocks, lastPairs, nRows, tileBias, mode, scale);
      if (nRows > 4) {
        tile_4x4(
          tileOut + 16,
          outStride,
          tileW + 16,
          tileX,
          blocks,
          lastPairs,
          nRows - 4,
          tileBias ? tileBias + 16 : 0,
          mode,
          scale,
        );
      }
    } else {
      tile_8x1(tileOut, tileW, tileX, blocks, lastPairs, nRows, tileBias, mode, scale);
    }
  }
}

function low_nibbles(w: v128): v128 {
  return v128.and(w, i8x16.splat(15));
}

function high_nibbles(w: v128): v128 {
  return v128.and(i16x8.shr_u(w, 4), i8x16.splat(15));
}

// What a quad adds to its accumulators. baseline: two int32 accumulators of two rows each; relaxed: one int16 accumulator.

function dot_low(acc: v128, q: v128, x: v128): v128 {
  return i32x4.add(acc, i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(q), x));
}

function dot_high(acc: v128, q: v128, x: v128): v128 {
  return i32x4.add(acc, i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(q), x));
}

function dot_relaxed(acc: v128, q: v128, x: v128): v128 {
  return i16x8.add(acc, i16x8.relaxed_dot_i8x16_i7x16_s(x, q));
}

function tile_8x1(
  out: usize,
  w: usize,
  x: usize,
  blocks: i32,
  lastPairs: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  let acc0 = start_rows(out, nRows, mode);
  let acc1 = nRows > 4 ? start_rows(out + 16, nRows - 4, mode) : f32x4.splat(0);
  while (blocks > 0) {
    const pairs = blocks === 1 ? lastPairs : 4;
    const scales = w;
    let sum0: v128;
    let sum1: v128;
    let xq = x + 8;
    w += 64;
    const end = w + (pairs << 5);
    if (ASC_FEATURE_RELAXED_SIMD) {
      let dot0 = i16x8.splat(0);
      let dot1 = i16x8.splat(0);
      while (w < end) {
        const w0 = v128.load(w);
        const w1 = v128.load(w, 16);
        const x0 = v128.load_splat<i32>(xq);
        const x1 = v128.load_splat<i32>(xq, 4);
        dot0 = dot_relaxed(dot0, low_nibbles(w0), x0);
        dot1 = dot_relaxed(dot1, low_nibbles(w1), x0);
        dot0 = dot_relaxed(dot0, high_nibbles(w0), x1);
        dot1 = dot_relaxed(dot1, high_nibbles(w1), x1);
        w += 32;
        xq += 8;
      }
      sum0 = i32x4.dot_i16x8_s(dot0, i16x8.splat(1));
      sum1 = i32x4.dot_i16x8_s(dot1, i16x8.splat(1));
    } else {
      let lo0 = i32x4.splat(0);
      let hi0 = i32x4.splat(0);
      let lo1 = i32x4.splat(0);
      let hi1 = i32x4.splat(0);
      while (w < end) {
        const w0 = v128.load(w);
        const w1 = v128.load(w, 16);
        const x0 = v128.load_splat<i64>(xq);
        const x1 = v128.load_splat<i64>(xq, 8);
        lo0 = dot_low(lo0, low_nibbles(w0), x0);
        hi0 = dot_high(hi0, low_nibbles(w0), x0);
        lo1 = dot_low(lo1, low_nibbles(w1), x0);
        hi1 = dot_high(hi1, low_nibbles(w1), x0);
        lo0 = dot_low(lo0, high_nibbles(w0), x1);
        hi0 = dot_high(hi0, high_nibbles(w0), x1);
        lo1 = dot_low(lo1, high_nibbles(w1), x1);
        hi1 = dot_high(hi1, high_nibbles(w1), x1);
        w += 32;
        xq += 16;
      }
      sum0 = sum_pairs(lo0, hi0);
      sum1 = sum_pairs(lo1, hi1);
    }
    const dx = v128.load_splat<f32>(x);
    const sx = v128.load_splat<f32>(x, 4);
    acc0 = accumulate(acc0, sum0, scales, dx, sx);
    acc1 = accumulate(acc1, sum1, scales + 16, dx, sx);
    x += ASC_FEATURE_RELAXED_SIMD ? BLOCK_BYTES_I8 : BLOCK_BYTES_I16;
    blocks--;
  }
  store_rows(out, acc0, nRows, mode, bias, scale);
  if (nRows > 4) store_rows(out + 16, acc1, nRows - 4, mode, bias ? bias + 16 : 0, scale);
}

/** One group of 4 rows (w at its group) × 4 tokens. */
function tile_4x4(
  out: usize,
  outStride: i32,
  w: usize,
  x: usize,
  blocks: i32,
  lastPairs: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  const stride = usize(outStride) << 2;
  let acc0 = start_rows(out, nRows, mode);
  let acc1 = start_rows(out + stride, nRows, mode);
  let acc2 = start_rows(out + 2 * stride, nRows, mode);
  let acc3 = start_rows(out + 3 * stride, nRows, mode);
  while (blocks > 0) {
    const pairs = blocks === 1 ? lastPairs : 4;
    const scales = w;
    let sum0: v128;
    let sum1: v128;
    let sum2: v128;
    let sum3: v128;
    let xq = x + 32;
    w += 64;
    const end = w + (pairs << 5);
    if (ASC_FEATURE_RELAXED_SIMD) {
      let dot0 = i16x8.splat(0);
      let dot1 = i16x8.splat(0);
      let dot2 = i16x8.splat(0);
      let dot3 = i16x8.splat(0);
      while (w < end) {
        const wv = v128.load(w);
        const w0 = low_nibbles(wv);
        const w1 = high_nibbles(wv);
        dot0 = dot_relaxed(dot0, w0, v128.load_splat<i32>(xq));
        dot1 = dot_relaxed(dot1, w0, v128.load_splat<i32>(xq, 4));
        dot2 = dot_relaxed(dot2, w0, v128.load_splat<i32>(xq, 8));
        dot3 = dot_relaxed(dot3, w0, v128.load_splat<i32>(xq, 12));
        dot0 = dot_relaxed(dot0, w1, v128.load_splat<i32>(xq, 16));
        dot1 = dot_relaxed(dot1, w1, v128.load_splat<i32>(xq, 20));
        dot2 = dot_relaxed(dot2, w1, v128.load_splat<i32>(xq, 24));
        dot3 = dot_relaxed(dot3, w1, v128.load_splat<i32>(xq, 28));
        w += 32;
        xq += 32;
      }
      const ones = i16x8.splat(1);
      sum0 = i32x4.dot_i16x8_s(dot0, ones);
      sum1 = i32x4.dot_i16x8_s(dot1, ones);
      sum2 = i32x4.dot_i16x8_s(dot2, ones);
      sum3 = i32x4.dot_i16x8_s(dot3, ones);
    } else {
      let lo0 = i32x4.splat(0);
      let hi0 = i32x4.splat(0);
      let lo1 = i32x4.splat(0);
      let hi1 = i32x4.splat(0);
      let lo2 = i32x4.splat(0);
      let hi2 = i32x4.splat(0);
      let lo3 = i32x4.splat(0);
      let hi3 = i32x4.splat(0);
      while (w < end) {
        let wv = v128.load(w);
        for (let half = 0; half < 2; half++) {
          const q = low_nibbles(wv);
          const wl = i16x8.extend_low_i8x16_u(q);
          const wh = i16x8.extend_high_i8x16_u(q);
          const x0 = v128.load_splat<i64>(xq);
          lo0 = i32x4.add(lo0, i32x4.dot_i16x8_s(wl, x0));
          hi0 = i32x4.add(hi0, i32x4.dot_i16x8_s(wh, x0));
          const x1 = v128.load_splat<i64>(xq, 8);
          lo1 = i32x4.add(lo1, i32x4.dot_i16x8_s(wl, x1));
          hi1 = i32x4.add(hi1, i32x4.dot_i16x8_s(wh, x1));
          const x2 = v128.load_splat<i64>(xq, 16);
          lo2 = i32x4.add(lo2, i32x4.dot_i16x8_s(wl, x2));
          hi2 = i32x4.add(hi2, i32x4.dot_i16x8_s(wh, x2));
          const x3 = v128.load_splat<i64>(xq, 24);
          lo3 = i32x4.add(lo3, i32x4.dot_i16x8_s(wl, x3));
          hi3 = i32x4.add(hi3, i32x4.dot_i16x8_s(wh, x3));
          wv = i16x8.shr_u(wv, 4);
          xq += 32;
        }
        w += 32;
      }
      sum0 = sum_pairs(lo0, hi0);
      sum1 = sum_pairs(lo1, hi1);
      sum2 = sum_pairs(lo2, hi2);
      sum3 = sum_pairs(lo3, hi3);
    }
    acc0 = accumulate(acc0, sum0, scales, v128.load_splat<f32>(x), v128.load_splat<f32>(x, 16));
    acc1 = accumulate(acc1, sum1, scales, v128.load_splat<f32>(x, 4), v128.load_splat<f32>(x, 20));
    acc2 = accumulate(acc2, sum2, scales, v128.load_splat<f32>(x, 8), v128.load_splat<f32>(x, 24));
    acc3 = accumulate(acc3, sum3, scales, v128.load_splat<f32>(x, 12), v128.load_splat<f32>(x, 28));
    x += 4 * (ASC_FEATURE_RELAXED_SIMD ? BLOCK_BYTES_I8 : BLOCK_BYTES_I16);
    blocks--;
  }
  store_rows(out, acc0, nRows, mode, bias, scale);
  store_rows(out + stride, acc1, nRows, mode, bias, scale);
  store_rows(out + 2 * stride, acc2, nRows, mode, bias, scale);
  store_rows(out + 3 * stride, acc3, nRows, mode, bias, scale);
}

/** scales: 4 scales, 32 bytes before their 4 minimums. */
function accumulate(acc: v128, sum: v128, scales: usize, dx: v128, sx: v128): v128 {
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(v128.load(scales), dx));
  return f32x4.add(f32x4.add(acc, scaled), f32x4.mul(v128.load(scales, 32), sx));
}
