// y = W x for q4 weights (w = d q + m, q in 0..15) and int8 activations. Per block of 32 columns:
//   y[t][r] += f32(Σ_k qw qx) · (dw[r][b] · dx[t][b]);  y[t][r] += mw[r][b] · s[t][b],  s = dx Σ_k qx
// blocks ascending. The first sum is an exact integer, so every tiling and build gives the same bits.
//
// Relaxed builds: `i16x8.relaxed_dot_i8x16_i7x16_s` (pmaddubsw). Its second operand, the nibbles, is in 0..15, so the
// specification leaves one result. A pair is at most 2·127·15 = 3810 in magnitude, so the 8 products of a block add up in int16
// (30480) and are widened once per block: two instructions per 16 products.
import {
  BLOCK_BYTES_I8,
  bf16_mask,
  block_count,
  int16_ones,
  last_octets,
  nibble_mask,
  PART_BYTES,
  part_columns,
  part_tile,
  part_token,
  q4_minimums,
  q4_scales,
} from "./layout";
import { start_high, start_rows, store_tile, store_tiles } from "./store";

/** 8 rows × 4 tokens, all parts (tiles.ts) in one pass over out. */
export function tile_8x4(
  out: usize,
  outStride: i32,
  parts: usize,
  partsEnd: usize,
  tile: i32,
  token: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
): void {
  const stride = usize(outStride) << 2;
  const out1 = out + stride;
  const out2 = out1 + stride;
  const out3 = out2 + stride;
  const mask = nibble_mask(nRows);
  const upper = bf16_mask(nRows);
  const ones = int16_ones(nRows);
  let low0 = start_rows(out, nRows, mode);
  let low1 = start_rows(out1, nRows, mode);
  let low2 = start_rows(out2, nRows, mode);
  let low3 = start_rows(out3, nRows, mode);
  let high0 = start_high(out, nRows, mode);
  let high1 = start_high(out1, nRows, mode);
  let high2 = start_high(out2, nRows, mode);
  let high3 = start_high(out3, nRows, mode);
  for (let part = parts; part < partsEnd; part += PART_BYTES) {
    const cols = part_columns(part);
    let w = part_tile<u8>(part, tile);
    let x = part_token(part, token);
    for (let blocks = block_count(cols); blocks > 0; blocks--) {
      const scales = w;
      const octets = blocks === 1 ? last_octets(cols) : 4;
      let a0 = i16x8.splat(0);
      let a1 = i16x8.splat(0);
      let a2 = i16x8.splat(0);
      let a3 = i16x8.splat(0);
      let b0 = i16x8.splat(0);
      let b1 = i16x8.splat(0);
      let b2 = i16x8.splat(0);
      let b3 = i16x8.splat(0);
      let xq = x + 32;
      w += 32;
      for (const end = w + (usize(octets) << 5); w < end; w += 32) {
        const wa = v128.load(w);
        const wb = v128.load(w, 16);
        let qa = v128.and(wa, mask);
        let qb = v128.and(wb, mask);
        const x0 = v128.load_splat<i32>(xq);
        a0 = dot(a0, qa, x0);
        b0 = dot(b0, qb, x0);
        const x1 = v128.load_splat<i32>(xq, 4);
        a1 = dot(a1, qa, x1);
        b1 = dot(b1, qb, x1);
        const x2 = v128.load_splat<i32>(xq, 8);
        a2 = dot(a2, qa, x2);
        b2 = dot(b2, qb, x2);
        const x3 = v128.load_splat<i32>(xq, 12);
        a3 = dot(a3, qa, x3);
        b3 = dot(b3, qb, x3);
        qa = v128.and(i16x8.shr_u(wa, 4), mask);
        qb = v128.and(i16x8.shr_u(wb, 4), mask);
        const y0 = v128.load_splat<i32>(xq, 16);
        a0 = dot(a0, qa, y0);
        b0 = dot(b0, qb, y0);
        const y1 = v128.load_splat<i32>(xq, 20);
        a1 = dot(a1, qa, y1);
        b1 = dot(b1, qb, y1);
        const y2 = v128.load_splat<i32>(xq, 24);
        a2 = dot(a2, qa, y2);
        b2 = dot(b2, qb, y2);
        const y3 = v128.load_splat<i32>(xq, 28);
        a3 = dot(a3, qa, y3);
        b3 = dot(b3, qb, y3);
        xq += 32;
      }
      const pa = v128.load(scales);
      const pb = v128.load(scales, 16);
      const d0 = v128.load_splat<f32>(x);
      const s0 = v128.load_splat<f32>(x, 16);
      low0 = accumulate(low0, widen(a0, ones), pa, upper, d0, s0);
      high0 = accumulate(high0, widen(b0, ones), pb, upper, d0, s0);
      const d1 = v128.load_splat<f32>(x, 4);
      const s1 = v128.load_splat<f32>(x, 20);
      low1 = accumulate(low1, widen(a1, ones), pa, upper, d1, s1);
      high1 = accumulate(high1, widen(b1, ones), pb, upper, d1, s1);
      const d2 = v128.load_splat<f32>(x, 8);
      const s2 = v128.load_splat<f32>(x, 24);
      low2 = accumulate(low2, widen(a2, ones), pa, upper, d2, s2);
      high2 = accumulate(high2, widen(b2, ones), pb, upper, d2, s2);
      const d3 = v128.load_splat<f32>(x, 12);
      const s3 = v128.load_splat<f32>(x, 28);
      low3 = accumulate(low3, widen(a3, ones), pa, upper, d3, s3);
      high3 = accumulate(high3, widen(b3, ones), pb, upper, d3, s3);
      x += 4 * BLOCK_BYTES_I8;
    }
  }
  store_tiles(
    out,
    stride,
    low0,
    high0,
    low1,
    high1,
    low2,
    high2,
    low3,
    high3,
    nRows,
    mode,
    bias,
    0,
  );
}

/** Four tiles of 8 rows × 1 token, `outStep` bytes apart in out and bias. */
export function tile_32x1(
  out: usize,
  outStep: usize,
  w: usize,
  w1: usize,
  w2: usize,
  w3: usize,
  x: usize,
  cols: i32,
  bias: usize,
  mode: i32,
): void {
  const mask = nibble_mask(cols);
  const upper = bf16_mask(cols);
  const ones = int16_ones(cols);
  const out1 = out + outStep;
  const out2 = out1 + outStep;
  const out3 = out2 + outStep;
  let low0 = start_rows(out, 8, mode);
  let low1 = start_rows(out1, 8, mode);
  let low2 = start_rows(out2, 8, mode);
  let low3 = start_rows(out3, 8, mode);
  let high0 = start_high(out, 8, mode);
  let high1 = start_high(out1, 8, mode);
  let high2 = start_high(out2, 8, mode);
  let high3 = start_high(out3, 8, mode);
  for (let blocks = block_count(cols); blocks > 0; blocks--) {
    const octets = blocks === 1 ? last_octets(cols) : 4;
    let a0 = i16x8.splat(0);
    let a1 = i16x8.splat(0);
    let a2 = i16x8.splat(0);
    let a3 = i16x8.splat(0);
    let b0 = i16x8.splat(0);
    let b1 = i16x8.splat(0);
    let b2 = i16x8.splat(0);
    let b3 = i16x8.splat(0);
    const scales = w;
    const scales1 = w1;
    const scales2 = w2;
    const scales3 = w3;
    w += 32;
    w1 += 32;
    w2 += 32;
    w3 += 32;
    let xq = x + 8;
    for (const end = xq + (usize(octets) << 3); xq < end; xq += 8) {
      const xl = v128.load_splat<i32>(xq);
      const xh = v128.load_splat<i32>(xq, 4);
      const p0 = v128.load(w);
      a0 = dot(dot(a0, v128.and(p0, mask), xl), v128.and(i16x8.shr_u(p0, 4), mask), xh);
      const q0 = v128.load(w, 16);
      b0 = dot(dot(b0, v128.and(q0, mask), xl), v128.and(i16x8.shr_u(q0, 4), mask), xh);
      w += 32;
      const p1 = v128.load(w1);
      a1 = dot(dot(a1, v128.and(p1, mask), xl), v128.and(i16x8.shr_u(p1, 4), mask), xh);
      const q1 = v128.load(w1, 16);
      b1 = dot(dot(b1, v128.and(q1, mask), xl), v128.and(i16x8.shr_u(q1, 4), mask), xh);
      w1 += 32;
      const p2 = v128.load(w2);
      a2 = dot(dot(a2, v128.and(p2, mask), xl), v128.and(i16x8.shr_u(p2, 4), mask), xh);
      const q2 = v128.load(w2, 16);
      b2 = dot(dot(b2, v128.and(q2, mask), xl), v128.and(i16x8.shr_u(q2, 4), mask), xh);
      w2 += 32;
      const p3 = v128.load(w3);
      a3 = dot(dot(a3, v128.and(p3, mask), xl), v128.and(i16x8.shr_u(p3, 4), mask), xh);
      const q3 = v128.load(w3, 16);
      b3 = dot(dot(b3, v128.and(q3, mask), xl), v128.and(i16x8.shr_u(q3, 4), mask), xh);
      w3 += 32;
    }
    const dx = v128.load_splat<f32>(x);
    const sx = v128.load_splat<f32>(x, 4);
    low0 = accumulate(low0, widen(a0, ones), v128.load(scales), upper, dx, sx);
    high0 = accumulate(high0, widen(b0, ones), v128.load(scales, 16), upper, dx, sx);
    low1 = accumulate(low1, widen(a1, ones), v128.load(scales1), upper, dx, sx);
    high1 = accumulate(high1, widen(b1, ones), v128.load(scales1, 16), upper, dx, sx);
    low2 = accumulate(low2, widen(a2, ones), v128.load(scales2), upper, dx, sx);
    high2 = accumulate(high2, widen(b2, ones), v128.load(scales2, 16), upper, dx, sx);
    low3 = accumulate(low3, widen(a3, ones), v128.load(scales3), upper, dx, sx);
    high3 = accumulate(high3, widen(b3, ones), v128.load(scales3, 16), upper, dx, sx);
    x += BLOCK_BYTES_I8;
  }
  store_tiles(
    out,
    outStep,
    low0,
    high0,
    low1,
    high1,
    low2,
    high2,
    low3,
    high3,
    8,
    mode,
    bias,
    outStep,
  );
}

/** 8 rows × 1 token. */
export function tile_8x1(
  out: usize,
  w: usize,
  x: usize,
  cols: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
): void {
  const mask = nibble_mask(cols);
  const upper = bf16_mask(cols);
  const ones = int16_ones(cols);
  let low = start_rows(out, nRows, mode);
  let high = start_high(out, nRows, mode);
  for (let blocks = block_count(cols); blocks > 0; blocks--) {
    const scales = w;
    const octets = blocks === 1 ? last_octets(cols) : 4;
    let a = i16x8.splat(0);
    let b = i16x8.splat(0);
    let xq = x + 8;
    w += 32;
    for (const end = w + (usize(octets) << 5); w < end; w += 32) {
      const xl = v128.load_splat<i32>(xq);
      const xh = v128.load_splat<i32>(xq, 4);
      const p = v128.load(w);
      a = dot(dot(a, v128.and(p, mask), xl), v128.and(i16x8.shr_u(p, 4), mask), xh);
      const q = v128.load(w, 16);
      b = dot(dot(b, v128.and(q, mask), xl), v128.and(i16x8.shr_u(q, 4), mask), xh);
      xq += 8;
    }
    const dx = v128.load_splat<f32>(x);
    const sx = v128.load_splat<f32>(x, 4);
    low = accumulate(low, widen(a, ones), v128.load(scales), upper, dx, sx);
    high = accumulate(high, widen(b, ones), v128.load(scales, 16), upper, dx, sx);
    x += BLOCK_BYTES_I8;
  }
  store_tile(out, low, high, nRows, mode, bias);
}

/** out += all parts, of a block each: whole tiles of 8 rows × 1 token (tiles.ts). */
export function add_short_rows(
  out: usize,
  parts: usize,
  partsEnd: usize,
  token: i32,
  first: i32,
  last: i32,
): void {
  const mask = nibble_mask(last);
  const upper = bf16_mask(last);
  const ones = int16_ones(last);
  for (let tile = first; tile < last; tile++) {
    let low = v128.load(out);
    let high = v128.load(out, 16);
    for (let part = parts; part < partsEnd; part += PART_BYTES) {
      const scales = part_tile<u8>(part, tile);
      const x = part_token(part, token);
      let a = i16x8.splat(0);
      let b = i16x8.splat(0);
      let xq = x + 8;
      let w = scales + 32;
      for (const end = w + (usize(last_octets(part_columns(part))) << 5); w < end; w += 32) {
        const xl = v128.load_splat<i32>(xq);
        const xh = v128.load_splat<i32>(xq, 4);
        const p = v128.load(w);
        a = dot(dot(a, v128.and(p, mask), xl), v128.and(i16x8.shr_u(p, 4), mask), xh);
        const q = v128.load(w, 16);
        b = dot(dot(b, v128.and(q, mask), xl), v128.and(i16x8.shr_u(q, 4), mask), xh);
        xq += 8;
      }
      const dx = v128.load_splat<f32>(x);
      const sx = v128.load_splat<f32>(x, 4);
      low = accumulate(low, widen(a, ones), v128.load(scales), upper, dx, sx);
      high = accumulate(high, widen(b, ones), v128.load(scales, 16), upper, dx, sx);
    }
    v128.store(out, low);
    v128.store(out, high, 16);
    out += 32;
  }
}

/** Four rows × 4 columns into 8 sums, two per row. */
function dot(acc: v128, q: v128, x: v128): v128 {
  return i16x8.add(acc, i16x8.relaxed_dot_i8x16_i7x16_s(x, q));
}

/** Adds the two sums of each row, in int32. */
function widen(sums: v128, ones: v128): v128 {
  return i32x4.dot_i16x8_s(sums, ones);
}

/** acc + f32(sum) · (d · dx) + m · sx. pairs: d and m of four rows */
function accumulate(acc: v128, sum: v128, pairs: v128, upper: v128, dx: v128, sx: v128): v128 {
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(q4_scales(pairs), dx));
  return f32x4.add(f32x4.add(acc, scaled), f32x4.mul(q4_minimums(pairs, upper), sx));
}
