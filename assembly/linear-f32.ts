// y = W x for weights that are floats (f32, f16, bf16): y[t][r] = Σ_k W[r][k] x[t][k], in f32: blocks of 64 columns are summed with k ascending, and their
// sums added in order, so every tiling gives the same bits. The blocks keep rounding errors of long rows small.
// 16-bit floats are converted, which is exact, so weights give the same bits however they are held.
import { finite_half_to_f32, half_factor, half_mask } from "./half";
import { PART_BYTES, part_columns, part_tile, part_token, tile_bytes } from "./layout";
import { start_high, start_rows, store_tile, store_tiles } from "./store";

/** Columns that are summed before they join the total. */
const BLOCK: i32 = 64;

/** 8 rows × 4 tokens, all parts (tiles.ts) in one pass over out. Weights are f32. */
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
export function tile_32x1<W>(
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
  const mask = half_mask(cols);
  const factor = half_factor(cols);
  let low0 = start_rows(out, 8, mode);
  let low1 = start_rows(out1, 8, mode);
  let low2 = start_rows(out2, 8, mode);
  let low3 = start_rows(out3, 8, mode);
  let high0 = start_high(out, 8, mode);
  let high1 = start_high(out1, 8, mode);
  let high2 = start_high(out2, 8, mode);
  let high3 = start_high(out3, 8, mode);
  for (const end = w + tile_bytes<W>(cols); w < end; ) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    for (
      const blockEnd = min(w + BLOCK * (8 * sizeof<W>()), end);
      w < blockEnd;
      w += 8 * sizeof<W>()
    ) {
      const xv = v128.load_splat<f32>(x);
      a0 = f32x4.add(a0, f32x4.mul(first_4<W>(w, mask, factor), xv));
      b0 = f32x4.add(b0, f32x4.mul(last_4<W>(w, mask, factor), xv));
      a1 = f32x4.add(a1, f32x4.mul(first_4<W>(w1, mask, factor), xv));
      b1 = f32x4.add(b1, f32x4.mul(last_4<W>(w1, mask, factor), xv));
      w1 += 8 * sizeof<W>();
      a2 = f32x4.add(a2, f32x4.mul(first_4<W>(w2, mask, factor), xv));
      b2 = f32x4.add(b2, f32x4.mul(last_4<W>(w2, mask, factor), xv));
      w2 += 8 * sizeof<W>();
      a3 = f32x4.add(a3, f32x4.mul(first_4<W>(w3, mask, factor), xv));
      b3 = f32x4.add(b3, f32x4.mul(last_4<W>(w3, mask, factor), xv));
      w3 += 8 * sizeof<W>();
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
export function tile_8x1<W>(
  out: usize,
  w: usize,
  x: usize,
  cols: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
): void {
  const mask = half_mask(cols);
  const factor = half_factor(cols);
  let low = start_rows(out, nRows, mode);
  let high = start_high(out, nRows, mode);
  for (const end = w + tile_bytes<W>(cols); w < end; ) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    for (
      const blockEnd = min(w + BLOCK * (8 * sizeof<W>()), end);
      w < blockEnd;
      w += 8 * sizeof<W>()
    ) {
      const xv = v128.load_splat<f32>(x);
      a = f32x4.add(a, f32x4.mul(first_4<W>(w, mask, factor), xv));
      b = f32x4.add(b, f32x4.mul(last_4<W>(w, mask, factor), xv));
      x += 4;
    }
    low = f32x4.add(low, a);
    high = f32x4.add(high, b);
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
      let w = part_tile<f32>(part, tile);
      let x = part_token(part, token);
      let a = f32x4.splat(0);
      let b = f32x4.splat(0);
      for (const end = w + tile_bytes<f32>(part_columns(part)); w < end; w += 32) {
        const xv = v128.load_splat<f32>(x);
        a = f32x4.add(a, f32x4.mul(v128.load(w), xv));
        b = f32x4.add(b, f32x4.mul(v128.load(w, 16), xv));
        x += 4;
      }
      low = f32x4.add(low, a);
      high = f32x4.add(high, b);
    }
    v128.store(out, low);
    v128.store(out, high, 16);
    out += 32;
  }
}

/** A tile of 16-bit floats to f32. */
export function widen_tile<W>(out: usize, w: usize, cols: i32): void {
  const mask = half_mask(cols);
  const factor = half_factor(cols);
  for (const end = w + tile_bytes<W>(cols); w < end; w += 16) {
    v128.store(out, first_4<W>(w, mask, factor));
    v128.store(out, last_4<W>(w, mask, factor), 16);
    out += 32;
  }
}

/** The weights of rows 0..3 for one column. mask, factor: half.ts */
function first_4<W>(w: usize, mask: v128, factor: v128): v128 {
  if (isFloat<W>()) return v128.load(w);
  if (isSigned<W>()) return finite_half_to_f32(v128.load_ext<i16>(w), mask, factor);
  return i32x4.shl(v128.load_ext<u16>(w), 16);
}

/** Those of rows 4..7. */
function last_4<W>(w: usize, mask: v128, factor: v128): v128 {
  if (isFloat<W>()) return v128.load(w, 16);
  if (isSigned<W>()) return finite_half_to_f32(v128.load_ext<i16>(w, 8), mask, factor);
  return i32x4.shl(v128.load_ext<u16>(w, 8), 16);
}
