// y = W x for f32 weights: y[t][r] = Σ_k W[r][k] x[t][k], in f32: blocks of 64 columns are summed with k ascending, and their
// sums added in order, so every tiling gives the same bits. The blocks keep rounding errors of long rows small.
import { PART_BYTES, part_columns, part_tile, part_token, tile_bytes } from "./layout";
import { start_high, start_rows, store_tile, store_tiles } from "./store";

/** Columns that are summed before they join the total. */
const BLOCK: i32 = 64;

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
    let w = part_tile<f32>(part, tile);
    let x = part_token(part, token);
    for (const end = w + tile_bytes<f32>(cols); w < end; ) {
      let a0 = f32x4.splat(0);
      let a1 = f32x4.splat(0);
      let a2 = f32x4.splat(0);
      let a3 = f32x4.splat(0);
      let b0 = f32x4.splat(0);
      let b1 = f32x4.splat(0);
      let b2 = f32x4.splat(0);
      let b3 = f32x4.splat(0);
      for (const blockEnd = min(w + (BLOCK << 5), end); w < blockEnd; w += 32) {
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
      high0 = f32x4.add(high0, b0);
      low1 = f32x4.add(low1, a1);
      high1 = f32x4.add(high1, b1);
      low2 = f32x4.add(low2, a2);
      high2 = f32x4.add(high2, b2);
      low3 = f32x4.add(low3, a3);
      high3 = f32x4.add(high3, b3);
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
  for (const end = w + tile_bytes<f32>(cols); w < end; ) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    for (const blockEnd = min(w + (BLOCK << 5), end); w < blockEnd; w += 32) {
      const xv = v128.load_splat<f32>(x);
      a0 = f32x4.add(a0, f32x4.mul(v128.load(w), xv));
      b0 = f32x4.add(b0, f32x4.mul(v128.load(w, 16), xv));
      a1 = f32x4.add(a1, f32x4.mul(v128.load(w1), xv));
      b1 = f32x4.add(b1, f32x4.mul(v128.load(w1, 16), xv));
      w1 += 32;
      a2 = f32x4.add(a2, f32x4.mul(v128.load(w2), xv));
      b2 = f32x4.add(b2, f32x4.mul(v128.load(w2, 16), xv));
      w2 += 32;
      a3 = f32x4.add(a3, f32x4.mul(v128.load(w3), xv));
      b3 = f32x4.add(b3, f32x4.mul(v128.load(w3, 16), xv));
      w3 += 32;
      x += 4;
    }
    low0 = f32x4.add(low0, a0);
    high0 = f32x4.add(high0, b0);
    low1 = f32x4.add(low1, a1);
    high1 = f32x4.add(high1, b1);
    low2 = f32x4.add(low2, a2);
    high2 = f32x4.add(high2, b2);
    low3 = f32x4.add(low3, a3);
    high3 = f32x4.add(high3, b3);
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
  for (const end = w + tile_bytes<f32>(cols); w < end; ) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    for (const blockEnd = min(w + (BLOCK << 5), end); w < blockEnd; w += 32) {
      const xv = v128.load_splat<f32>(x);
      a = f32x4.add(a, f32x4.mul(v128.load(w), xv));
      b = f32x4.add(b, f32x4.mul(v128.load(w, 16), xv));
      x += 4;
    }
    low = f32x4.add(low, a);
    high = f32x4.add(high, b);
  }
  store_tile(out, low, high, nRows, mode, bias);
}
