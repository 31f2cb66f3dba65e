// Weight rows as they lie in a file, into the layouts that kernels stream (layout.ts). Rows come in order, whole tiles at a
// time (the last one may be short).
//
//   q8  d = amax / 127, q = round(w · (127 / amax))                         (as src/backend/quantize.ts, to the bit)
//   q4  m = the largest bf16 ≤ lo, d = the smallest bf16 ≥ (hi - m) / 15, q = min(15, round((w - m) · (1 / d)))
//
// Rows that are blocks already (src/backend/block-rows.ts) keep their numbers.

import { half_to_f32 } from "./half";
import { greatest, least, round_magic, round_to_i32 } from "./lanes";
import {
  block_count,
  is_quantized,
  last_pairs,
  Q4_BLOCK_BYTES,
  Q8_BLOCK_BYTES,
  q4_offset,
  q8_offset,
  split,
  tile_bytes,
} from "./layout";

export const F32: i32 = 0;
export const F16: i32 = 1;
export const BF16: i32 = 2;
export const Q8: i32 = 3;
export const Q4: i32 = 4;

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

/** Bytes of a row in the file. */
function row_bytes(cols: i32, dtype: i32): usize {
  if (dtype === Q8) return usize(block_count(cols)) * 36;
  if (dtype === Q4) return usize(block_count(cols)) * 20;
  return usize(cols) * (dtype === F32 ? 4 : 2);
}

/**
 * W         type of the packed weights (layout.ts); where it is of 16 bits, or dtype is Q8 or Q4, that of the file
 * dst       first of the tiles that these rows fill
 * from      [rows, cols] of dtype
 * scratch   per thread one row of f32, cols rounded up to 32
 * failures  per thread an i32: its first row that holds NaN or infinity, and where it stopped; else left alone
 * Split over threads by tiles.
 */
export function pack_weights<W>(
  dst: usize,
  from: usize,
  dtype: i32,
  rows: i32,
  cols: i32,
  scratch: usize,
  failures: usize,
  tid: i32,
  threads: i32,
): void {
  const rowBytes = row_bytes(cols, dtype);
  const tileBytes = tile_bytes<W>(cols);
  const line = scratch + usize(tid) * (((cols + 31) & ~31) << 2);
  const tiles = (rows + 7) >> 3;
  const end = split(tiles, tid + 1, threads);
  for (let tile = split(tiles, tid, threads); tile < end; tile++) {
    const to = dst + usize(tile) * tileBytes;
    const nRows = min(8, rows - (tile << 3));
    if (nRows < 8) memory.fill(to, 0, tileBytes);
    for (let lane = 0; lane < nRows; lane++) {
      const row = (tile << 3) + lane;
      const source = from + usize(row) * rowBytes;
      const isBlocks = is_quantized<W>() && dtype >= Q8;
      const finite = isBlocks
        ? copy_row<W>(to, source, cols, lane)
        : convert_row(line, source, cols, dtype);
      if (!finite) {
        store<i32>(failures + (tid << 2), row);
        return;
      }
      if (isBlocks) continue;
      if (isFloat<W>()) put_floats<u32>(to + (lane << 2), line, cols);
      else if (sizeof<W>() === 2) put_floats<u16>(to + (lane << 1), source, cols);
      else if (isSigned<W>()) put_q8(to, line, cols, lane);
      else put_q4(to, line, cols, lane);
    }
  }
}

/** Copies a row of whole blocks. Returns false if a scale or minimum is not finite. */
function copy_row<W>(tile: usize, from: usize, cols: i32, lane: i32): bool {
  const blocks = block_count(cols);
  for (let block = 0; block < blocks; block++) {
    const head = load<u32>(from);
    if ((head & 0x7f800000) === 0x7f800000) return false;
    if (isSigned<W>()) {
      const to = tile + block * Q8_BLOCK_BYTES;
      store<u32>(to + (lane << 2), head);
      for (let pair = 0; pair < 16; pair++) {
        store<u16>(to + q8_offset(pair << 1, lane), load<u16>(from + (pair << 1), 4));
      }
      from += 36;
    } else {
      if ((head & 0x7f80) === 0x7f80) return false;
      const to = tile + block * Q4_BLOCK_BYTES;
      store<u32>(to + (lane << 2), head);
      const bytes = v128.load(from, 4);
      copy_octets(to, v128.and(bytes, i8x16.splat(15)), 0, lane);
      copy_octets(to, i8x16.shr_u(bytes, 4), 16, lane);
      from += 20;
    }
  }
  return true;
}

/** 16 columns from `col` on, each in a byte. */
function copy_octets(block: usize, columns: v128, col: i32, lane: i32): void {
  // a column and the fourth one after it share a byte
  const bytes = v128.or(columns, i64x2.shl(i64x2.shr_u(columns, 32), 4));
  for (let half = 0; half < 2; half++) {
    const four = u32(half === 0 ? i64x2.extract_lane(bytes, 0) : i64x2.extract_lane(bytes, 1));
    const octet = col + (half << 3);
    store<u16>(block + q4_offset(octet, lane), four);
    store<u16>(block + q4_offset(octet + 2, lane), four >> 16);
  }
}

/** Numbers of type T, as they are. */
function put_floats<T>(to: usize, x: usize, cols: i32): void {
  for (const end = x + usize(cols) * sizeof<T>(); x < end; x += sizeof<T>()) {
    store<T>(to, load<T>(x));
    to += 8 * sizeof<T>();
  }
}

function put_q8(tile: usize, x: usize, cols: i32, lane: i32): void {
  const blocks = block_count(cols);
  for (let block = 0; block < blocks; block++) {
    const pairs = block === blocks - 1 ? last_pairs(cols) : 16;
    quantize_q8(tile + block * Q8_BLOCK_BYTES, x + (block << 7), pairs, lane);
  }
}

function put_q4(tile: usize, x: usize, cols: i32, lane: i32): void {
  const blocks = block_count(cols);
  for (let block = 0; block < blocks; block++) {
    const nCols = min(32, cols - (block << 5));
    quantize_q4(tile + block * Q4_BLOCK_BYTES, x + (block << 7), nCols, lane);
  }
}

/** x: 32 columns, zeros behind the row's end. */
function quantize_q8(block: usize, x: usize, pairs: i32, lane: i32): void {
  let top = f32x4.splat(0);
  for (let at = x, end = x + 128; at < end; at += 16) {
    top = f32x4.pmax(top, f32x4.abs(v128.load(at)));
  }
  const amax = greatest(top);
  let scale = amax / 127;
  let inverse: f32 = amax > 0 ? 127 / amax : 0;
  if (inverse === Infinity) {
    scale = 0;
    inverse = 0;
  }
  store<f32>(block + (lane << 2), scale);
  const factor = f32x4.splat(inverse);
  const magic = round_magic(lane);
  let to = block + q8_offset(0, lane);
  for (let pair = 0; pair < pairs; pair += 2) {
    const q32 = round_to_i32(f32x4.mul(v128.load(x + (pair << 3)), factor), magic);
    const q16 = i16x8.narrow_i32x4_s(q32, q32);
    const q = i8x16.narrow_i16x8_s(q16, q16);
    v128.store_lane<i16>(to, q, 0);
    if (pair + 1 < pairs) v128.store_lane<i16>(to, q, 1, 16);
    to += 32;
  }
}

/** x: nCols columns, behind them room for 32. */
function quantize_q4(block: usize, x: usize, nCols: i32, lane: i32): void {
  let low = v128.load_splat<f32>(x);
  let high = low;
  let col = 0;
  for (; col + 4 <= nCols; col += 4) {
    const value = v128.load(x + (col << 2));
    low = f32x4.pmin(low, value);
    high = f32x4.pmax(high, value);
  }
  let lo = least(low);
  let hi = greatest(high);
  for (; col < nCols; col++) {
    const value = load<f32>(x + (col << 2));
    lo = min(lo, value);
    hi = max(hi, value);
  }
  lo = floor_bf16(lo);
  let scale = -floor_bf16((hi - lo) / -15);
  let inverse: f32 = 1 / scale;
  if (inverse === Infinity) {
    scale = 0;
    inverse = 0;
  }
  store<u32>(block + (lane << 2), (reinterpret<u32>(scale) >> 16) | reinterpret<u32>(lo));
  const minimum = f32x4.splat(lo);
  const factor = f32x4.splat(inverse);
  const magic = round_magic(lane);
  for (col = 0; col < nCols; col += 8) {
    const at = x + (col << 2);
    const bytes =
      nibbles(at, minimum, factor, magic) | (nibbles(at + 16, minimum, factor, magic) << 4);
    store<u16>(block + q4_offset(col, lane), bytes);
    store<u16>(block + q4_offset(col + 2, lane), bytes >> 16);
  }
}

/** The largest bf16, the upper half of an f32, that is not above x. */
function floor_bf16(x: f32): f32 {
  const bits = reinterpret<u32>(x);
  const rest = bits & 0xffff;
  return reinterpret<f32>(bits - rest + (rest !== 0 && x < 0 ? 0x10000 : 0));
}

/** Four columns as one byte each. Columns past the row's end meet activations of zero, so their value does not matter. */
function nibbles(x: usize, minimum: v128, factor: v128, magic: v128): u32 {
  const q = round_to_i32(f32x4.mul(f32x4.sub(v128.load(x), minimum), factor), magic);
  const q16 = i16x8.narrow_i32x4_s(q, q);
  const low = i8x16.min_u(i8x16.narrow_i16x8_u(q16, q16), i8x16.splat(15));
  return u32(i32x4.extract_lane(low, 0));
}
