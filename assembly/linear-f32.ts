// y = W x for f32 weights: y[t][r] = Σ_k W[r][k] x[t][k], in f32: blocks of 64 columns are summed with k ascending, and their
// sums added in order, so every tiling gives the same bits. The blocks keep rounding errors of long rows small.
//
// v1 8 rows × 1 token (decode) and 8 rows × 4 tokens (prefill), lanes = rows: no horizontal sums.
import { panel_count, panel_token, split } from "./layout";
import { start_rows, store_rows } from "./store";

/** Columns that are summed before they join the total. */
const BLOCK: i32 = 64;

/**
 * out     [n, outStride] f32, outStride in elements
 * w       packed f32 weights [rows, cols]
 * x       packed f32 panels; xToken bytes per token
 * bias    [rows] f32, or 0
 */
export function linear_f32(
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
  const end = split(tiles * panels, tid + 1, threads);
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const panel = unit % panels;
    const token = panel_token(panel, n);
    const tileOut = out + ((token * outStride + (tile << 3)) << 2);
    const tileW = w + usize(tile) * (usize(cols) << 5);
    const tileX = x + usize(token) * xToken;
    const tileBias = bias ? bias + (tile << 5) : 0;
    const nRows = rows - (tile << 3);
    if (panel < n >> 2)
      tile_8x4(tileOut, outStride, tileW, tileX, cols, nRows, tileBias, mode, scale);
    else tile_8x1(tileOut, tileW, tileX, cols, nRows, tileBias, mode, scale);
  }
}

function tile_8x1(
  out: usize,
  w: usize,
  x: usize,
  cols: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  let sum0 = start_rows(out, nRows, mode);
  let sum1 = nRows > 4 ? start_rows(out + 16, nRows - 4, mode) : f32x4.splat(0);
  const end = x + (cols << 2);
  while (x < end) {
    const blockEnd = min(x + (BLOCK << 2), end);
    const blockEnd4 = x + ((blockEnd - x) & ~15);
    let acc0 = f32x4.splat(0);
    let acc1 = f32x4.splat(0);
    while (x < blockEnd4) {
      const x0 = v128.load_splat<f32>(x);
      acc0 = f32x4.add(acc0, f32x4.mul(v128.load(w), x0));
      acc1 = f32x4.add(acc1, f32x4.mul(v128.load(w, 16), x0));
      const x1 = v128.load_splat<f32>(x, 4);
      acc0 = f32x4.add(acc0, f32x4.mul(v128.load(w, 32), x1));
      acc1 = f32x4.add(acc1, f32x4.mul(v128.load(w, 48), x1));
      const x2 = v128.load_splat<f32>(x, 8);
      acc0 = f32x4.add(acc0, f32x4.mul(v128.load(w, 64), x2));
      acc1 = f32x4.add(acc1, f32x4.mul(v128.load(w, 80), x2));
      const x3 = v128.load_splat<f32>(x, 12);
      acc0 = f32x4.add(acc0, f32x4.mul(v128.load(w, 96), x3));
      acc1 = f32x4.add(acc1, f32x4.mul(v128.load(w, 112), x3));
      w += 128;
      x += 16;
    }
    while (x < blockEnd) {
      const x0 = v128.load_splat<f32>(x);
      acc0 = f32x4.add(acc0, f32x4.mul(v128.load(w), x0));
      acc1 = f32x4.add(acc1, f32x4.mul(v128.load(w, 16), x0));
      w += 32;
      x += 4;
    }
    sum0 = f32x4.add(sum0, acc0);
    sum1 = f32x4.add(sum1, acc1);
  }
  store_rows(out, sum0, nRows, mode, bias, scale);
  if (nRows > 4) store_rows(out + 16, sum1, nRows - 4, mode, bias ? bias + 16 : 0, scale);
}

function tile_8x4(
  out: usize,
  outStride: i32,
  w: usize,
  x: usize,
  cols: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  const stride = usize(outStride) << 2;
  const out1 = out + stride;
  const out2 = out1 + stride;
  const out3 = out2 + stride;
  const zero = f32x4.splat(0);
  const hasHigh = nRows > 4;
  let low0 = start_rows(out, nRows, mode);
  let low1 = start_rows(out1, nRows, mode);
  let low2 = start_rows(out2, nRows, mode);
  let low3 = start_rows(out3, nRows, mode);
  let high0 = hasHigh ? start_rows(out + 16, nRows - 4, mode) : zero;
  let high1 = hasHigh ? start_rows(out1 + 16, nRows - 4, mode) : zero;
  let high2 = hasHigh ? start_rows(out2 + 16, nRows - 4, mode) : zero;
  let high3 = hasHigh ? start_rows(out3 + 16, nRows - 4, mode) : zero;
  const end = w + (usize(cols) << 5);
  while (w < end) {
    const blockEnd = min(w + (BLOCK << 5), end);
    let a0 = zero;
    let a1 = zero;
    let a2 = zero;
    let a3 = zero;
    let b0 = zero;
    let b1 = zero;
    let b2 = zero;
    let b3 = zero;
    for (; w < blockEnd; w += 32) {
      const wa = v128.load(w);
      const wb = v128.load(w, 16);
      const x0 = v128.load_splat<f32>(x);
      a0 = f32x4.add(a0, f32x4.mul(wa, x0));
      b0 = f32x4.add(b0, f32x4.mul(wb, x0));
      const x1 = v128.load_splat<f32>(x, 4);
      a1 = f32x4.add(a1, f32x4.mul(wa, x1));
      b1 = f32x4.add(b1, f32x4.mul(wb, x1));
      const x2 = v128.load_splat<f32>(x, 8);
      a2 = f32x4.add(a2, f32x4.mul(wa, x2));
      b2 = f32x4.add(b2, f32x4.mul(wb, x2));
      const x3 = v128.load_splat<f32>(x, 12);
      a3 = f32x4.add(a3, f32x4.mul(wa, x3));
      b3 = f32x4.add(b3, f32x4.mul(wb, x3));
      x += 16;
    }
    low0 = f32x4.add(low0, a0);
    low1 = f32x4.add(low1, a1);
    low2 = f32x4.add(low2, a2);
    low3 = f32x4.add(low3, a3);
    high0 = f32x4.add(high0, b0);
    high1 = f32x4.add(high1, b1);
    high2 = f32x4.add(high2, b2);
    high3 = f32x4.add(high3, b3);
  }
  store_rows(out, low0, nRows, mode, bias, scale);
  store_rows(out1, low1, nRows, mode, bias, scale);
  store_rows(out2, low2, nRows, mode, bias, scale);
  store_rows(out3, low3, nRows, mode, bias, scale);
  if (hasHigh) {
    if (bias) bias += 16;
    store_rows(out + 16, high0, nRows - 4, mode, bias, scale);
    store_rows(out1 + 16, high1, nRows - 4, mode, bias, scale);
    store_rows(out2 + 16, high2, nRows - 4, mode, bias, scale);
    store_rows(out3 + 16, high3, nRows - 4, mode, bias, scale);
  }
}
