// y = W x for q4 weights (w = d q + m, q in 0..15) and int8 activations. Per block of 32 columns:
//   y[t][r] += f32(Σ_k qw qx) · (dw[r][b] · dx[t][b]);  y[t][r] += mw[r][b] · s[t][b],  s = dx Σ_k qx
// blocks ascending. The first sum is an exact integer, so every tiling and build gives the same bits.
//
// Baseline builds: nibbles widened to int16, `i32x4.dot_i16x8_s`. linear-q4-relaxed.ts is the other half.
import {
  BLOCK_BYTES_I16,
  bf16_mask,
  block_count,
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
      let a0 = i32x4.splat(0);
      let a1 = i32x4.splat(0);
      let a2 = i32x4.splat(0);
      let a3 = i32x4.splat(0);
      let b0 = i32x4.splat(0);
      let b1 = i32x4.splat(0);
      let b2 = i32x4.splat(0);
      let b3 = i32x4.splat(0);
      let xq = x + 32;
      w += 32;
      for (const end = w + (usize(octets) << 5); w < end; w += 32) {
        let wa = v128.load(w);
        let wb = v128.load(w, 16);
        for (let half = 0; half < 2; half++) {
          const qa = v128.and(wa, mask);
          const qb = v128.and(wb, mask);
          let pa = i16x8.extend_low_i8x16_u(qa);
          let pb = i16x8.extend_low_i8x16_u(qb);
          const x0 = v128.load_splat<i32>(xq);
          a0 = dot(a0, pa, x0);
          b0 = dot(b0, pb, x0);
          const x1 = v128.load_splat<i32>(xq, 4);
          a1 = dot(a1, pa, x1);
          b1 = dot(b1, pb, x1);
          const x2 = v128.load_splat<i32>(xq, 8);
          a2 = dot(a2, pa, x2);
          b2 = dot(b2, pb, x2);
          const x3 = v128.load_splat<i32>(xq, 12);
          a3 = dot(a3, pa, x3);
          b3 = dot(b3, pb, x3);
          pa = i16x8.extend_high_i8x16_u(qa);
          pb = i16x8.extend_high_i8x16_u(qb);
          const y0 = v128.load_splat<i32>(xq, 16);
          a0 = dot(a0, pa, y0);
          b0 = dot(b0, pb, y0);
          const y1 = v128.load_splat<i32>(xq, 20);
          a1 = dot(a1, pa, y1);
          b1 = dot(b1, pb, y1);
          const y2 = v128.load_splat<i32>(xq, 24);
          a2 = dot(a2, pa, y2);
          b2 = dot(b2, pb, y2);
          const y3 = v128.load_splat<i32>(xq, 28);
          a3 = dot(a3, pa, y3);
          b3 = dot(b3, pb, y3);
          wa = i16x8.shr_u(wa, 4);
          wb = i16x8.shr_u(wb, 4);
          xq += 32;
        }
      }
      const pa = v128.load(scales);
      const pb = v128.load(scales, 16);
      const d0 = v128.load_splat<f32>(x);
      const s0 = v128.load_splat<f32>(x, 16);
      low0 = accumulate(low0, a0, pa, upper, d0, s0);
      high0 = accumulate(high0, b0, pb, upper, d0, s0);
      const d1 = v128.load_splat<f32>(x, 4);
      const s1 = v128.load_splat<f32>(x, 20);
      low1 = accumulate(low1, a1, pa, upper, d1, s1);
      high1 = accumulate(high1, b1, pb, upper, d1, s1);
      const d2 = v128.load_splat<f32>(x, 8);
      const s2 = v128.load_splat<f32>(x, 24);
      low2 = accumulate(low2, a2, pa, upper, d2, s2);
      high2 = accumulate(high2, b2, pb, upper, d2, s2);
      const d3 = v128.load_splat<f32>(x, 12);
      const s3 = v128.load_splat<f32>(x, 28);
      low3 = accumulate(low3, a3, pa, upper, d3, s3);
      high3 = accumulate(high3, b3, pb, upper, d3, s3);
      x += 4 * BLOCK_BYTES_I16;
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
    let a0 = i32x4.splat(0);
    let a1 = i32x4.splat(0);
    let a2 = i32x4.splat(0);
    let a3 = i32x4.splat(0);
    let b0 = i32x4.splat(0);
    let b1 = i32x4.splat(0);
    let b2 = i32x4.splat(0);
    let b3 = i32x4.splat(0);
    const scales = w;
    const scales1 = w1;
    const scales2 = w2;
    const scales3 = w3;
    w += 32;
    w1 += 32;
    w2 += 32;
    w3 += 32;
    let xq = x + 8;
    for (const end = xq + (usize(octets) << 4); xq < end; xq += 16) {
      const x0 = v128.load_splat<i32>(xq);
      const x1 = v128.load_splat<i32>(xq, 4);
      const x2 = v128.load_splat<i32>(xq, 8);
      const x3 = v128.load_splat<i32>(xq, 12);
      a0 = dot_octet(a0, v128.load(w), mask, x0, x1, x2, x3);
      b0 = dot_octet(b0, v128.load(w, 16), mask, x0, x1, x2, x3);
      w += 32;
      a1 = dot_octet(a1, v128.load(w1), mask, x0, x1, x2, x3);
      b1 = dot_octet(b1, v128.load(w1, 16), mask, x0, x1, x2, x3);
      w1 += 32;
      a2 = dot_octet(a2, v128.load(w2), mask, x0, x1, x2, x3);
      b2 = dot_octet(b2, v128.load(w2, 16), mask, x0, x1, x2, x3);
      w2 += 32;
      a3 = dot_octet(a3, v128.load(w3), mask, x0, x1, x2, x3);
      b3 = dot_octet(b3, v128.load(w3, 16), mask, x0, x1, x2, x3);
      w3 += 32;
    }
    const dx = v128.load_splat<f32>(x);
    const sx = v128.load_splat<f32>(x, 4);
    low0 = accumulate(low0, a0, v128.load(scales), upper, dx, sx);
    high0 = accumulate(high0, b0, v128.load(scales, 16), upper, dx, sx);
    low1 = accumulate(low1, a1, v128.load(scales1), upper, dx, sx);
    high1 = accumulate(high1, b1, v128.load(scales1, 16), upper, dx, sx);
    low2 = accumulate(low2, a2, v128.load(scales2), upper, dx, sx);
    high2 = accumulate(high2, b2, v128.load(scales2, 16), upper, dx, sx);
    low3 = accumulate(low3, a3, v128.load(scales3), upper, dx, sx);
    high3 = accumulate(high3, b3, v128.load(scales3, 16), upper, dx, sx);
    x += BLOCK_BYTES_I16;
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
  let low = start_rows(out, nRows, mode);
  let high = start_high(out, nRows, mode);
  for (let blocks = block_count(cols); blocks > 0; blocks--) {
    const scales = w;
    const octets = blocks === 1 ? last_octets(cols) : 4;
    let a = i32x4.splat(0);
    let b = i32x4.splat(0);
    let xq = x + 8;
    w += 32;
    for (const end = w + (usize(octets) << 5); w < end; w += 32) {
      const x0 = v128.load_splat<i32>(xq);
      const x1 = v128.load_splat<i32>(xq, 4);
      const x2 = v128.load_splat<i32>(xq, 8);
      const x3 = v128.load_splat<i32>(xq, 12);
      a = dot_octet(a, v128.load(w), mask, x0, x1, x2, x3);
      b = dot_octet(b, v128.load(w, 16), mask, x0, x1, x2, x3);
      xq += 16;
    }
    const dx = v128.load_splat<f32>(x);
    const sx = v128.load_splat<f32>(x, 4);
    low = accumulate(low, a, v128.load(scales), upper, dx, sx);
    high = accumulate(high, b, v128.load(scales, 16), upper, dx, sx);
    x += BLOCK_BYTES_I16;
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
  for (let tile = first; tile < last; tile++) {
    let low = v128.load(out);
    let high = v128.load(out, 16);
    for (let part = parts; part < partsEnd; part += PART_BYTES) {
      const scales = part_tile<u8>(part, tile);
      const x = part_token(part, token);
      let a = i32x4.splat(0);
      let b = i32x4.splat(0);
      let xq = x + 8;
      let w = scales + 32;
      for (const end = w + (usize(last_octets(part_columns(part))) << 5); w < end; w += 32) {
        const x0 = v128.load_splat<i32>(xq);
        const x1 = v128.load_splat<i32>(xq, 4);
        const x2 = v128.load_splat<i32>(xq, 8);
        const x3 = v128.load_splat<i32>(xq, 12);
        a = dot_octet(a, v128.load(w), mask, x0, x1, x2, x3);
        b = dot_octet(b, v128.load(w, 16), mask, x0, x1, x2, x3);
        xq += 16;
      }
      const dx = v128.load_splat<f32>(x);
      const sx = v128.load_splat<f32>(x, 4);
      low = accumulate(low, a, v128.load(scales), upper, dx, sx);
      high = accumulate(high, b, v128.load(scales, 16), upper, dx, sx);
    }
    v128.store(out, low);
    v128.store(out, high, 16);
    out += 32;
  }
}

/** Four rows × 2 columns. */
function dot(acc: v128, q: v128, x: v128): v128 {
  return i32x4.add(acc, i32x4.dot_i16x8_s(q, x));
}

/** Four rows × 8 columns: 16 bytes of weights, a pair of columns in each of x0 to x3. */
function dot_octet(acc: v128, w: v128, mask: v128, x0: v128, x1: v128, x2: v128, x3: v128): v128 {
  const low = v128.and(w, mask);
  acc = dot(acc, i16x8.extend_low_i8x16_u(low), x0);
  acc = dot(acc, i16x8.extend_high_i8x16_u(low), x1);
  const high = v128.and(i16x8.shr_u(w, 4), mask);
  acc = dot(acc, i16x8.extend_low_i8x16_u(high), x2);
  return dot(acc, i16x8.extend_high_i8x16_u(high), x3);
}

/** acc + f32(sum) · (d · dx) + m · sx. pairs: d and m of four rows */
function accumulate(acc: v128, sum: v128, pairs: v128, upper: v128, dx: v128, sx: v128): v128 {
  const scaled = f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(q4_scales(pairs), dx));
  return f32x4.add(f32x4.add(acc, scaled), f32x4.mul(q4_minimums(pairs, upper), sx));
}
