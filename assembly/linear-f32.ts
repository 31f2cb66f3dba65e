// y = W x for f32 weights: y[t][r] = Σ_k W[r][k] x[t][k], summed in f32 with k ascending, so every tiling gives the same bits.
//
// v1 8 rows × 1 token (decode) and 8 rows × 4 tokens (prefill), lanes = rows: no horizontal sums.
import { panel_count, panel_token, split } from "./layout";
import { start_rows, store_rows } from "./store";

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
  let acc0 = start_rows(out, nRows, mode);
  let acc1 = nRows > 4 ? start_rows(out + 16, nRows - 4, mode) : f32x4.splat(0);
  const end = x + (cols << 2);
  const end4 = x + ((cols & ~3) << 2);
  while (x < end4) {
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
  while (x < end) {
    const x0 = v128.load_splat<f32>(x);
    acc0 = f32x4.add(acc0, f32x4.mul(v128.load(w), x0));
    acc1 = f32x4.add(acc1, f32x4.mul(v128.load(w, 16), x0));
    w += 32;
    x += 4;
  }
  store_rows(out, acc0, nRows, mode, bias, scale);
  if (nRows > 4) store_rows(out + 16, acc1, nRows - 4, mode, bias ? bias + 16 : 0, scale);
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
  const high = nRows > 4;
  let a0 = start_rows(out, nRows, mode);
  let a1 = start_rows(out1, nRows, mode);
  let a2 = start_rows(out2, nRows, mode);
  let a3 = start_rows(out3, nRows, mode);
  let b0 = high ? start_rows(out + 16, nRows - 4, mode) : zero;
  let b1 = high ? start_rows(out1 + 16, nRows - 4, mode) : zero;
  let b2 = high ? start_rows(out2 + 16, nRows - 4, mode) : zero;
  let b3 = high ? start_rows(out3 + 16, nRows - 4, mode) : zero;
  for (const end = w + (usize(cols) << 5); w < end; w += 32) {
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
  store_rows(out, a0, nRows, mode, bias, scale);
  store_rows(out1, a1, nRows, mode, bias, scale);
  store_rows(out2, a2, nRows, mode, bias, scale);
  store_rows(out3, a3, nRows, mode, bias, scale);
  if (high) {
    if (bias) bias += 16;
    store_rows(out + 16, b0, nRows - 4, mode, bias, scale);
    store_rows(out1 + 16, b1, nRows - 4, mode, bias, scale);
    store_rows(out2 + 16, b2, nRows - 4, mode, bias, scale);
    store_rows(out3 + 16, b3, nRows - 4, mode, bias, scale);
  }
}
