// y = W x for q8 weights and int8 activations. Per block of 32 columns the product is an exact integer:
//   y[t][r] = Σ_b f32(Σ_k qw qx) · (dw[r][b] · dx[t][b]), blocks ascending, so every tiling and build gives the same bits.
//
// int8 weights are widened on load and multiplied with int16 activations (`i32x4.dot_i16x8_s`): a pair of columns of four rows
// at a time. The relaxed int8 dot would need |x| and x's sign applied to w here (both operands are signed): on x86 that is more
// instructions than widening.
import {
  BLOCK_BYTES_I16,
  block_count,
  last_pairs,
  PART_BYTES,
  part_columns,
  part_tile,
  part_token,
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
    let w = part_tile<i8>(part, tile);
    let x = part_token(part, token);
    for (let blocks = block_count(cols); blocks > 0; blocks--) {
      const scales = w;
      const pairs = blocks === 1 ? last_pairs(cols) : 16;
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
      for (const end = w + (usize(pairs) << 4); w < end; w += 16) {
        const wa = v128.load_ext<i8>(w);
        const wb = v128.load_ext<i8>(w, 8);
        const x0 = v128.load_splat<i32>(xq);
        a0 = i32x4.add(a0, i32x4.dot_i16x8_s(wa, x0));
        b0 = i32x4.add(b0, i32x4.dot_i16x8_s(wb, x0));
        const x1 = v128.load_splat<i32>(xq, 4);
        a1 = i32x4.add(a1, i32x4.dot_i16x8_s(wa, x1));
        b1 = i32x4.add(b1, i32x4.dot_i16x8_s(wb, x1));
        const x2 = v128.load_splat<i32>(xq, 8);
        a2 = i32x4.add(a2, i32x4.dot_i16x8_s(wa, x2));
        b2 = i32x4.add(b2, i32x4.dot_i16x8_s(wb, x2));
        const x3 = v128.load_splat<i32>(xq, 12);
        a3 = i32x4.add(a3, i32x4.dot_i16x8_s(wa, x3));
        b3 = i32x4.add(b3, i32x4.dot_i16x8_s(wb, x3));
        xq += 16;
      }
      const da = v128.load(scales);
      const db = v128.load(scales, 16);
      const d0 = v128.load_splat<f32>(x);
      low0 = accumulate(low0, a0, da, d0);
      high0 = accumulate(high0, b0, db, d0);
      const d1 = v128.load_splat<f32>(x, 4);
      low1 = accumulate(low1, a1, da, d1);
      high1 = accumulate(high1, b1, db, d1);
      const d2 = v128.load_splat<f32>(x, 8);
      low2 = accumulate(low2, a2, da, d2);
      high2 = accumulate(high2, b2, db, d2);
      const d3 = v128.load_splat<f32>(x, 12);
      low3 = accumulate(low3, a3, da, d3);
      high3 = accumulate(high3, b3, db, d3);
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
    const pairs = blocks === 1 ? last_pairs(cols) : 16;
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
    for (const end = xq + (usize(pairs) << 2); xq < end; xq += 4) {
      const xv = v128.load_splat<i32>(xq);
      a0 = i32x4.add(a0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w), xv));
      b0 = i32x4.add(b0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 8), xv));
      w += 16;
      a1 = i32x4.add(a1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w1), xv));
      b1 = i32x4.add(b1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w1, 8), xv));
      w1 += 16;
      a2 = i32x4.add(a2, i32x4.dot_i16x8_s(v128.load_ext<i8>(w2), xv));
      b2 = i32x4.add(b2, i32x4.dot_i16x8_s(v128.load_ext<i8>(w2, 8), xv));
      w2 += 16;
      a3 = i32x4.add(a3, i32x4.dot_i16x8_s(v128.load_ext<i8>(w3), xv));
      b3 = i32x4.add(b3, i32x4.dot_i16x8_s(v128.load_ext<i8>(w3, 8), xv));
      w3 += 16;
    }
    const dx = v128.load_splat<f32>(x);
    low0 = accumulate(low0, a0, v128.load(scales), dx);
    high0 = accumulate(high0, b0, v128.load(scales, 16), dx);
    low1 = accumulate(low1, a1, v128.load(scales1), dx);
    high1 = accumulate(high1, b1, v128.load(scales1, 16), dx);
    low2 = accumulate(low2, a2, v128.load(scales2), dx);
    high2 = accumulate(high2, b2, v128.load(scales2, 16), dx);
    low3 = accumulate(low3, a3, v128.load(scales3), dx);
    high3 = accumulate(high3, b3, v128.load(scales3, 16), dx);
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
  let low = start_rows(out, nRows, mode);
  let high = start_high(out, nRows, mode);
  for (let blocks = block_count(cols); blocks > 0; blocks--) {
    const scales = w;
    const pairs = blocks === 1 ? last_pairs(cols) : 16;
    let a = i32x4.splat(0);
    let b = i32x4.splat(0);
    let xq = x + 8;
    w += 32;
    for (const end = w + (usize(pairs) << 4); w < end; w += 16) {
      const xv = v128.load_splat<i32>(xq);
      a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load_ext<i8>(w), xv));
      b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 8), xv));
      xq += 4;
    }
    const dx = v128.load_splat<f32>(x);
    low = accumulate(low, a, v128.load(scales), dx);
    high = accumulate(high, b, v128.load(scales, 16), dx);
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
  for (let tile = first; tile < last; tile++) {
    let low = v128.load(out);
    let high = v128.load(out, 16);
    for (let part = parts; part < partsEnd; part += PART_BYTES) {
      const scales = part_tile<i8>(part, tile);
      const x = part_token(part, token);
      let a = i32x4.splat(0);
      let b = i32x4.splat(0);
      let xq = x + 8;
      let w = scales + 32;
      for (const end = w + (usize(last_pairs(part_columns(part))) << 4); w < end; w += 16) {
        const xv = v128.load_splat<i32>(xq);
        a = i32x4.add(a, i32x4.dot_i16x8_s(v128.load_ext<i8>(w), xv));
        b = i32x4.add(b, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 8), xv));
        xq += 4;
      }
      const dx = v128.load_splat<f32>(x);
      low = accumulate(low, a, v128.load(scales), dx);
      high = accumulate(high, b, v128.load(scales, 16), dx);
    }
    v128.store(out, low);
    v128.store(out, high, 16);
    out += 32;
  }
}

/** acc + f32(sum) · (dw · dx) */
function accumulate(acc: v128, sum: v128, dw: v128, dx: v128): v128 {
  return f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(sum), f32x4.mul(dw, dx)));
}
