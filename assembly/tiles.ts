// The tiles of a product, whatever the type of weight; the arithmetic is in linear-<type>.ts.
import { is_quantized } from "./layout";
import * as f32_kernels from "./linear-f32";
import * as q4_kernels from "./linear-q4";
import * as q4_relaxed_kernels from "./linear-q4-relaxed";
import * as q8_kernels from "./linear-q8";

/**
 * Tile `tile` of 8 rows × the 4 tokens from `token` on: the sum of all parts (layout.ts). No 16-bit floats.
 * nRows: how many of the rows exist.
 */
export function tile_8x4<W>(
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
  if (isFloat<W>()) {
    f32_kernels.tile_8x4(out, outStride, parts, partsEnd, tile, token, nRows, bias, mode);
    return;
  }
  if (isSigned<W>()) {
    q8_kernels.tile_8x4(out, outStride, parts, partsEnd, tile, token, nRows, bias, mode);
    return;
  }
  if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.tile_8x4(out, outStride, parts, partsEnd, tile, token, nRows, bias, mode);
  } else q4_kernels.tile_8x4(out, outStride, parts, partsEnd, tile, token, nRows, bias, mode);
}

/** Four tiles of 8 rows × 1 token, `outStep` bytes apart in out and bias: four streams through memory. */
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
  if (!is_quantized<W>())
    f32_kernels.tile_32x1<W>(out, outStep, w, w1, w2, w3, x, cols, bias, mode);
  else if (isSigned<W>()) q8_kernels.tile_32x1(out, outStep, w, w1, w2, w3, x, cols, bias, mode);
  else if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.tile_32x1(out, outStep, w, w1, w2, w3, x, cols, bias, mode);
  } else q4_kernels.tile_32x1(out, outStep, w, w1, w2, w3, x, cols, bias, mode);
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
  if (!is_quantized<W>()) f32_kernels.tile_8x1<W>(out, w, x, cols, nRows, bias, mode);
  else if (isSigned<W>()) q8_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode);
  else if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode);
  } else q4_kernels.tile_8x1(out, w, x, cols, nRows, bias, mode);
}

/**
 * out += all parts, of at most 32 columns each: whole tiles `first` to `last` of 8 rows × 1 token. out is that of the first. No 16-bit
 * floats. Rows of a bank's B are so short that what surrounds their products costs as much: here there is nothing else.
 */
export function add_short_rows<W>(
  out: usize,
  parts: usize,
  partsEnd: usize,
  token: i32,
  first: i32,
  last: i32,
): void {
  if (isFloat<W>()) f32_kernels.add_short_rows(out, parts, partsEnd, token, first, last);
  else if (isSigned<W>()) q8_kernels.add_short_rows(out, parts, partsEnd, token, first, last);
  else if (ASC_FEATURE_RELAXED_SIMD) {
    q4_relaxed_kernels.add_short_rows(out, parts, partsEnd, token, first, last);
  } else q4_kernels.add_short_rows(out, parts, partsEnd, token, first, last);
}
