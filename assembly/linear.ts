// y = W x, for every type of weight: how the work is cut and shared out. The arithmetic is in linear-<type>.ts.
//
// Full panels (4 tokens) take a tile of 8 rows at a time. The last n % 4 tokens are computed one by one: four tiles that lie a
// quarter of the thread's rows apart go side by side. They are four streams through memory, which the processor fetches ahead
// of each other, so they arrive faster than one.
import { split, tile_bytes } from "./layout";
import * as f32_kernels from "./linear-f32";
import * as q4_kernels from "./linear-q4";
import * as q4_relaxed_kernels from "./linear-q4-relaxed";
import * as q8_kernels from "./linear-q8";

/**
 * W       type of the weights (layout.ts)
 * out     [n, outStride] f32, outStride in elements
 * w       packed weights [rows, cols]
 * x       packed activations (layout.ts); xToken bytes per token
 * bias    [rows] f32, or 0
 * mode    STORE: out = scale · W x + bias; ADD: out += that; CONTINUE: the sum begins at out
 */
export function linear<W>(
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
  const tiles = (rows + 7) >> 3;
  const tileBytes = tile_bytes<W>(cols);
  const panels = n >> 2;
  const end = split(tiles * panels, tid + 1, threads);
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const token = (unit % panels) << 2;
    tile_8x4<W>(
      out + ((token * outStride + (tile << 3)) << 2),
      outStride,
      w + usize(tile) * tileBytes,
      x + usize(token) * xToken,
      cols,
      rows - (tile << 3),
      bias ? bias + (tile << 5) : 0,
      mode,
      scale,
    );
  }
  if ((n & 3) === 0) return;

  const first = split(tiles, tid, threads);
  const last = split(tiles, tid + 1, threads);
  const quarter = max(0, min(last, rows >> 3) - first) >> 2;
  for (let tile = first; tile < last; tile++) {
    const apart = tile < first + quarter;
    if (!apart && tile < first + (quarter << 2)) continue;
    for (let token = panels << 2; token < n; token++) {
      const tileOut = out + ((token * outStride + (tile << 3)) << 2);
      const tileW = w + usize(tile) * tileBytes;
      const tileX = x + usize(token) * xToken;
      const tileBias = bias ? bias + (tile << 5) : 0;
      if (apart) {
        tile_32x1<W>(tileOut, tileW, tileX, cols, quarter, tileBias, mode, scale);
      } else {
        tile_8x1<W>(tileOut, tileW, tileX, cols, rows - (tile << 3), tileBias, mode, scale);
      }
    }
  }
}

/** 8 rows × 4 tokens. nRows: how many of the rows exist. */
function tile_8x4<W>(
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
  if (isFloat<W>()) f32_kernels.tile_8x4(out, outStride, w, x, cols, nRows, bias, mode, scale);
  else if (isSigned<W>()) q8_kernels.tile_8x4(out, outStride, w, x, cols, nRows, bias, mode, scale);
  else if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.tile_8x4(out, outStride, w, x, cols, nRows, bias, mode, scale);
  } else q4_kernels.tile_8x4(out, outStride, w, x, cols, nRows, bias, mode, scale);
}

/** Four tiles of 8 rows, `apart` tiles from one to the next, × 1 token. */
function tile_32x1<W>(
  out: usize,
  w: usize,
  x: usize,
  cols: i32,
  apart: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  if (isFloat<W>()) f32_kernels.tile_32x1(out, w, x, cols, apart, bias, mode, scale);
  else if (isSigned<W>()) q8_kernels.tile_32x1(out, w, x, cols, apart, bias, mode, scale);
  else if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.tile_32x1(out, w, x, cols, apart, bias, mode, scale);
  } else q4_kernels.tile_32x1(out, w, x, cols, apart, bias, mode, scale);
}

/** 8 rows × 1 token. */
function tile_8x1<W>(
  out: usize,
  w: usize,
  x: usize,
  cols: i32,
  nRows: i32,
  bias: usize,
  mode: i32,
  scale: f32,
): void {
  if (isFloat<W>()) f32_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode, scale);
  else if (isSigned<W>()) q8_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode, scale);
  else if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode, scale);
  } else q4_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode, scale);
}
