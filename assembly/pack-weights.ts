// Weight rows as they lie in a file, into the layouts that kernels stream (layout.ts). Rows come in order, whole tiles at a
// time (the last one may be short). Each packer returns the index of the first row that holds NaN or infinity, or -1.
//
//   q8  d = amax / 127, q = round(w · (127 / amax))                         (as src/backend/quantize.ts, to the bit)
//   q4  d = (hi - lo) / 15, m = lo, q = clamp(round((w - lo) · (15 / (hi - lo))), 0, 15)

import { half_to_f32 } from "./half";
import {
  block_count,
  last_pairs,
  Q4_BLOCK_BYTES,
  Q8_BLOCK_BYTES,
  q4_offset,
  q8_offset,
  tile_bytes,
} from "./layout";

export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 2;

/**
 * Converts one row to f32. Returns false if a value is not finite.
 * out  [nCols] f32, room for nCols rounded up to 32; the rest is zeroed
 * from [nCols] of dtype
 */
function convert_row(out: usize, from: usize, nCols: i32, dtype: i32): bool {
  const end = out + ((nCols + 31) & ~31) * 4;
  let worst = i32x4.splat(0);
  let to = out;
  // Exponent bits all set means NaN or infinity, in each type.
  const exponent = i32x4.splat(0x7f800000);
  let col = 0;
  for (; col + 4 <= nCols; col += 4) {
    const value = load4(from, dtype);
    worst = v128.or(worst, i32x4.eq(v128.and(value, exponent), exponent));
    v128.store(to, value);
    from += dtype === F32 ? 16 : 8;
    to += 16;
  }
  for (; col < nCols; col++) {
    const value = load1(from, dtype);
    if ((reinterpret<i32>(value) & 0x7f800000) === 0x7f800000) worst = i32x4.splat(-1);
    store<f32>(to, value);
    from += dtype === F32 ? 4 : 2;
    to += 4;
  }
  memory.fill(to, 0, end - to);
  return !v128.any_true(worst);
}

function load4(from: usize, dtype: i32): v128 {
  if (dtype === F32) return v128.load(from);
  if (dtype === BF16) return i32x4.shl(v128.load_ext<u16>(from), 16);
  return half_to_f32(v128.load_ext<u16>(from));
}

function load1(from: usize, dtype: i32): f32 {
  if (dtype === F32) return load<f32>(from);
  const bits = i32x4.splat(load<u16>(from));
  return f32x4.extract_lane(dtype === BF16 ? i32x4.shl(bits, 16) : half_to_f32(bits), 0);
}

/** dst: first of the tiles that these rows fill. scratch: 8 rows of f32, each cols rounded up to 32. */
export function pack_f32(
  dst: usize,
  from: usize,
  dtype: i32,
  rows: i32,
  cols: i32,
  scratch: usize,
): i32 {
  const rowBytes = usize(cols) * (dtype === F32 ? 4 : 2);
  const scratchRow = usize((cols + 31) & ~31) << 2;
  for (let row = 0; row < rows; row += 8) {
    const nRows = min(8, rows - row);
    if (nRows < 8) memory.fill(dst, 0, usize(cols) << 5);
    for (let lane = 0; lane < nRows; lane++) {
      const line = scratch + usize(lane) * scratchRow;
      if (!convert_row(line, from, cols, dtype)) return row + lane;
      let to = dst + (lane << 2);
      for (let col = 0; col < cols; col++) {
        store<f32>(to, load<f32>(line + (col << 2)));
        to += 32;
      }
      from += rowBytes;
    }
    dst += usize(cols) << 5;
  }
  return -1;
}

/** As pack_f32. */
export function pack_q8(
  dst: usize,
  from: usize,
  dtype: i32,
  rows: i32,
  cols: i32,
  scratch: usize,
): i32 {
  const rowBytes = usize(cols) * (dtype === F32 ? 4 : 2);
  const blocks = block_count(cols);
  const lastPairs = last_pairs(cols);
  const tileBytes = tile_bytes<i8>(cols);
  for (let row = 0; row < rows; row += 8) {
    const nRows = min(8, rows - row);
    if (nRows < 8) memory.fill(dst, 0, tileBytes);
    for (let lane = 0; lane < nRows; lane++) {
      if (!convert_row(scratch, from, cols, dtype)) return row + lane;
      for (let block = 0; block < blocks; block++) {
        const pairs = block === blocks - 1 ? lastPairs : 16;
        quantize_q8(dst + block * Q8_BLOCK_BYTES, scratch + (block << 7), pairs, lane);
      }
      from += rowBytes;
    }
    dst += tileBytes;
  }
  return -1;
}

/** x: 32 columns, zeros behind the row's end. */
function quantize_q8(block: usize, x: usize, pairs: i32, lane: i32): void {
  let top = f32x4.splat(0);
  for (let at = x, end = x + 128; at < end; at += 16)
    top = f32x4.pmax(top, f32x4.abs(v128.load(at)));
  const amax = max(
    max(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)),
    max(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)),
  );
  let scale = amax / 127;
  let inverse: f32 = amax > 0 ? 127 / amax : 0;
  if (inverse === Infinity) {
    scale = 0;
    inverse = 0;
  }
  store<f32>(block + (lane << 2), scale);
  const factor = f32x4.splat(inverse);
  for (let pair = 0; pair < pairs; pair += 2) {
    const value = f32x4.nearest(f32x4.mul(v128.load(x + (pair << 3)), factor));
    const q16 = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(value), i32x4.splat(0));
    const q = i8x16.narrow_i16x8_s(q16, q16);
    const to = block + q8_offset(pair << 1, lane);
    v128.store_lane<i16>(to, q, 0);
    if (pair + 1 < pairs) v128.store_lane<i16>(to, q, 1, 16);
  }
}

/** As pack_f32. */
export function pack_q4(
  dst: usize,
  from: usize,
  dtype: i32,
  rows: i32,
  cols: i32,
  scratch: usize,
): i32 {
  const rowBytes = usize(cols) * (dtype === F32 ? 4 : 2);
  const blocks = block_count(cols);
  const tileBytes = tile_bytes<u8>(cols);
  for (let row = 0; row < rows; row += 8) {
    const nRows = min(8, rows - row);
    if (nRows < 8) memory.fill(dst, 0, tileBytes);
    for (let lane = 0; lane < nRows; lane++) {
      if (!convert_row(scratch, from, cols, dtype)) return row + lane;
      for (let block = 0; block < blocks; block++) {
        const nCols = min(32, cols - (block << 5));
        quantize_q4(dst + block * Q4_BLOCK_BYTES, scratch + (block << 7), nCols, lane);
      }
      from += rowBytes;
    }
    dst += tileBytes;
  }
  return -1;
}

function quantize_q4(block: usize, x: usize, nCols: i32, lane: i32): void {
  let lo: f32 = load<f32>(x);
  let hi: f32 = lo;
  for (let col = 1; col < nCols; col++) {
    const value = load<f32>(x + (col << 2));
    lo = min(lo, value);
    hi = max(hi, value);
  }
  const range = hi - lo;
  let scale = range / 15;
  let inverse: f32 = range > 0 ? 15 / range : 0;
  if (inverse === Infinity) {
    scale = 0;
    inverse = 0;
  }
  store<f32>(block + (lane << 2), scale);
  store<f32>(block + (lane << 2), lo, 32);
  for (let col = 0; col < nCols; col += 8) {
    const low = nibbles(x + (col << 2), lo, inverse);
    const high = nibbles(x + (col << 2) + 16, lo, inverse);
    const bytes = low | (high << 4);
    store<u16>(block + q4_offset(col, lane), bytes);
    store<u16>(block + q4_offset(col + 2, lane), bytes >> 16);
  }
}

/** Four columns as one byte each. Columns past the row's end meet activations of zero, so their value does not matter. */
function nibbles(x: usize, lo: f32, inverse: f32): u32 {
  const scaled = f32x4.mul(f32x4.sub(v128.load(x), f32x4.splat(lo)), f32x4.splat(inverse));
  const q = i32x4.min_s(
    i32x4.max_s(i32x4.trunc_sat_f32x4_s(f32x4.nearest(scaled)), i32x4.splat(0)),
    i32x4.splat(15),
  );
  const q16 = i16x8.narrow_i32x4_s(q, q);
  return u32(i32x4.extract_lane(i8x16.narrow_i16x8_u(q16, q16), 0));
}
