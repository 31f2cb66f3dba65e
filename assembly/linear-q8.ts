// y = W x for q8 weights and int8 activations. Per block of 32 columns the product is an exact integer:
//   y[t][r] = Σ_b f32(Σ_k qw qx) · (dw[r][b] · dx[t][b]), blocks ascending, so every tiling and build gives the same bits.
//
// int8 weights are widened on load and multiplied with int16 activations (`i32x4.dot_i16x8_s`). One dot leaves two partial
// sums per row, side by side; they are added once per block. The relaxed int8 dot would need |x| and x's sign applied to w
// here (both operands are signed): on x86 that is more instructions than widening.
import {
  BLOCK_BYTES_I16,
  block_count,
  last_quads,
  panel_count,
  panel_token,
  q8_tile_bytes,
  split,
} from "./layout";
import { start_rows, store_rows } from "./store";
import { sum_pairs } from "./sum-pairs";

/**
 * out     [n, outStride] f32, outStride in elements
 * w       packed q8 weights [rows, cols]
 * x       packed int16 panels; xToken bytes per token
 * bias    [rows] f32, or 0
 */
export function linear_q8(
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
  const lastQuads = last_quads(cols);
  const tileBytes = q8_tile_bytes(cols);
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
      tile_4x4(tileOut, outStride, tileW, tileX, blocks, lastQuads, nRows, tileBias, mode, scale);
      if (nRows > 4) {
        tile_4x4(
          tileOut + 16,
          outStride,
          tileW + 16,
          tileX,
          blocks,
          lastQuads,
          nRows - 4,
          tileBias ? tileBias + 16 : 0,
          mode,
          scale,
        );
      }
    } else {
      tile_8x1(tileOut, tileW, tileX, blocks, lastQuads, nRows, tileBias, mode, scale);
    }
  }
}

function tile_8x1(
  out: usize,
  w: usize,
  x: usize,
  blocks: i32,
  lastQuads: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  let acc0 = start_rows(out, nRows, mode);
  let acc1 = nRows > 4 ? start_rows(out + 16, nRows - 4, mode) : f32x4.splat(0);
  while (blocks > 0) {
    const quads = blocks === 1 ? lastQuads : 8;
    const scales = w;
    let lo0 = i32x4.splat(0);
    let hi0 = i32x4.splat(0);
    let lo1 = i32x4.splat(0);
    let hi1 = i32x4.splat(0);
    w += 32;
    let xq = x + 8;
    for (const end = w + (quads << 5); w < end; w += 32) {
      const xv = v128.load_splat<i64>(xq);
      lo0 = i32x4.add(lo0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w), xv));
      hi0 = i32x4.add(hi0, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 8), xv));
      lo1 = i32x4.add(lo1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 16), xv));
      hi1 = i32x4.add(hi1, i32x4.dot_i16x8_s(v128.load_ext<i8>(w, 24), xv));
      xq += 8;
    }
    const dx = v128.load_splat<f32>(x);
    const sum0 = f32x4.convert_i32x4_s(sum_pairs(lo0, hi0));
    const sum1 = f32x4.convert_i32x4_s(sum_pairs(lo1, hi1));
    acc0 = f32x4.add(acc0, f32x4.mul(sum0, f32x4.mul(v128.load(scales), dx)));
    acc1 = f32x4.add(acc1, f32x4.mul(sum1, f32x4.mul(v128.load(scales, 16), dx)));
    x += BLOCK_BYTES_I16;
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
  lastQuads: i32,
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
    const quads = blocks === 1 ? lastQuads : 8;
    const scales = w;
    let lo0 = i32x4.splat(0);
    let hi0 = i32x4.splat(0);
    let lo1 = i32x4.splat(0);
    let hi1 = i32x4.splat(0);
    let lo2 = i32x4.splat(0);
    let hi2 = i32x4.splat(0);
    let lo3 = i32x4.splat(0);
    let hi3 = i32x4.splat(0);
    // The second group's scales lie 16 bytes behind the first's, its quads too: both offsets are in w already.
    w += 32;
    let xq = x + 32;
    for (const end = w + (quads << 5); w < end; w += 32) {
      const wl = v128.load_ext<i8>(w);
      const wh = v128.load_ext<i8>(w, 8);
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
      xq += 32;
    }
    const dw = v128.load(scales);
    acc0 = accumulate(acc0, lo0, hi0, dw, v128.load_splat<f32>(x));
    acc1 = accumulate(acc1, lo1, hi1, dw, v128.load_splat<f32>(x, 4));
    acc2 = accumulate(acc2, lo2, hi2, dw, v128.load_splat<f32>(x, 8));
    acc3 = accumulate(acc3, lo3, hi3, dw, v128.load_splat<f32>(x, 12));
    x += 4 * BLOCK_BYTES_I16;
    blocks--;
  }
  store_rows(out, acc0, nRows, mode, bias, scale);
  store_rows(out + stride, acc1, nRows, mode, bias, scale);
  store_rows(out + 2 * stride, acc2, nRows, mode, bias, scale);
  store_rows(out + 3 * stride, acc3, nRows, mode, bias, scale);
}

function accumulate(acc: v128, lo: v128, hi: v128, dw: v128, dx: v128): v128 {
  return f32x4.add(acc, f32x4.mul(f32x4.convert_i32x4_s(sum_pairs(lo, hi)), f32x4.mul(dw, dx)));
}
