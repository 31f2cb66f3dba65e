// dX = Wᵀ dY: the gradient of a product by its input, through packed weights of any type (also Aᵀ and Bᵀ of a bank).
//   dx[t][c] [+]= Σ_r W[r][c] dy[t][r], r ascending
//
// Eight columns of W at a time are unpacked to f32, [rows, 8], and stay in the cache while all tokens go by.
import { load_float } from "./half";
import {
  ADD,
  block_count,
  last_pairs,
  nibble_mask,
  Q4_BLOCK_BYTES,
  Q8_BLOCK_BYTES,
  q4_scales,
  split,
  tile_bytes,
} from "./layout";
import { load_rows, put_rows } from "./store";
import { tile_4x8 } from "./tile-f32";

export const WEIGHT_F32: i32 = 0;
export const WEIGHT_Q8: i32 = 1;
export const WEIGHT_Q4: i32 = 2;
export const WEIGHT_F16: i32 = 3;
export const WEIGHT_BF16: i32 = 4;

/**
 * dx       [n, cols] f32
 * w        packed weights [rows, cols] of `type`
 * dy       [n, dyStride] f32, dyStride in elements; the first `rows` of each count
 * mode     STORE or ADD
 * scratch  scratchBytes per thread: 128, and rows rounded up to 8 × 32
 * Split over threads by columns.
 */
export function linear_backward(
  dx: usize,
  w: usize,
  type: i32,
  dy: usize,
  dyStride: i32,
  n: i32,
  rows: i32,
  cols: i32,
  mode: i32,
  scratch: usize,
  scratchBytes: i32,
  tid: i32,
  threads: i32,
): void {
  const tile = scratch + usize(tid) * scratchBytes;
  const columns = tile + 128;
  const groups = (cols + 7) >> 3;
  const stride = usize(dyStride) << 2;
  const end = split(groups, tid + 1, threads);
  for (let group = split(groups, tid, threads); group < end; group++) {
    if (type === WEIGHT_Q8) unpack_q8(columns, w, rows, cols, group);
    else if (type === WEIGHT_Q4) unpack_q4(columns, w, rows, cols, group);
    else if (type === WEIGHT_F16) unpack_floats<i16>(columns, w, rows, cols, group);
    else if (type === WEIGHT_BF16) unpack_floats<u16>(columns, w, rows, cols, group);
    else unpack_floats<f32>(columns, w, rows, cols, group);
    const nCols = min(8, cols - (group << 3));
    for (let token = 0; token < n; token += 4) {
      const last = min(4, n - token) - 1;
      const y = dy + usize(token) * stride;
      const y1 = y + usize(min(1, last)) * stride;
      const y2 = y + usize(min(2, last)) * stride;
      const y3 = y + usize(min(3, last)) * stride;
      tile_4x8(tile, 32, columns, 32, y, y1, y2, y3, 4, rows);
      for (let i = 0; i <= last; i++) {
        put_row(dx + ((usize(token + i) * cols + (group << 3)) << 2), tile + (i << 5), nCols, mode);
      }
    }
  }
}

function put_row(to: usize, from: usize, nCols: i32, mode: i32): void {
  for (let c = 0; c < nCols; c++) {
    const at = c << 2;
    const value = load<f32>(from + at);
    store<f32>(to + at, mode === ADD ? load<f32>(to + at) + value : value);
  }
}

/** out [rows rounded up to 8, 8]: columns group × 8 .. + 7; those past the end are 0. */
function unpack_floats<W>(out: usize, w: usize, rows: i32, cols: i32, group: i32): void {
  const first = group << 3;
  const nCols = min(8, cols - first);
  for (let row = 0; row < rows; row += 8) {
    let from = w + ((usize(row >> 3) * cols + first) << 3) * sizeof<W>();
    for (let lane = 0; lane < 8; lane++) {
      for (let c = 0; c < nCols; c++)
        store<f32>(out + (c << 2), load_float<W>(from + (c << 3) * sizeof<W>()));
      for (let c = nCols; c < 8; c++) store<f32>(out + (c << 2), 0);
      from += sizeof<W>();
      out += 32;
    }
  }
}

function unpack_q8(out: usize, w: usize, rows: i32, cols: i32, group: i32): void {
  const tileBytes = tile_bytes<i8>(cols);
  const block = w + usize(group >> 2) * Q8_BLOCK_BYTES;
  const first = (group & 3) << 2;
  const pairs = (group >> 2 < block_count(cols) - 1 ? 16 : last_pairs(cols)) - first;
  for (let row = 0; row < rows; row += 8) {
    const scales = block + usize(row >> 3) * tileBytes;
    for (let half = 0; half < 2; half++) {
      const from = scales + 32 + (first << 4) + (half << 3);
      const low = interleave(
        v128.load64_zero(from),
        pairs > 1 ? v128.load64_zero(from, 16) : i32x4.splat(0),
      );
      const high = interleave(
        pairs > 2 ? v128.load64_zero(from, 32) : i32x4.splat(0),
        pairs > 3 ? v128.load64_zero(from, 48) : i32x4.splat(0),
      );
      widen(out, low, high, v128.load(scales + (half << 4)));
      out += 128;
    }
  }
}

/** Two pairs of columns of four rows, [4, 2] int8 each, to [4, 4]. */
function interleave(first: v128, second: v128): v128 {
  return v128.shuffle<i16>(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
}

function unpack_q4(out: usize, w: usize, rows: i32, cols: i32, group: i32): void {
  const tileBytes = tile_bytes<u8>(cols);
  const block = w + usize(group >> 2) * Q4_BLOCK_BYTES;
  const nibble = nibble_mask(cols);
  for (let row = 0; row < rows; row += 8) {
    const scales = block + usize(row >> 3) * tileBytes;
    const from = scales + 32 + ((group & 3) << 5);
    for (let half = 0; half < 2; half++) {
      const pairs = scales + (half << 4);
      let bytes = v128.load(from + (half << 4));
      if (!ASC_FEATURE_RELAXED_SIMD)
        bytes = v128.shuffle<i16>(bytes, bytes, 0, 4, 1, 5, 2, 6, 3, 7);
      widen(
        out,
        v128.and(bytes, nibble),
        v128.and(i16x8.shr_u(bytes, 4), nibble),
        q4_scales(v128.load(pairs)),
      );
      for (let r = 0; r < 4; r++) {
        const minimum = i32x4.splat(load<i32>(pairs + (r << 2)) & 0xffff0000);
        v128.store(out, f32x4.add(v128.load(out), minimum));
        v128.store(out, f32x4.add(v128.load(out, 16), minimum), 16);
        out += 32;
      }
    }
  }
}

/** Four rows of 4 + 4 int8 (rows one after another in low and high) to [4, 8] f32, times each row's scale. */
function widen(out: usize, low: v128, high: v128, scales: v128): void {
  const l0 = i16x8.extend_low_i8x16_s(low);
  const l1 = i16x8.extend_high_i8x16_s(low);
  const h0 = i16x8.extend_low_i8x16_s(high);
  const h1 = i16x8.extend_high_i8x16_s(high);
  const d0 = f32x4.extract_lane(scales, 0);
  const d1 = f32x4.extract_lane(scales, 1);
  const d2 = f32x4.extract_lane(scales, 2);
  const d3 = f32x4.extract_lane(scales, 3);
  put_scaled(out, i32x4.extend_low_i16x8_s(l0), i32x4.extend_low_i16x8_s(h0), d0);
  put_scaled(out + 32, i32x4.extend_high_i16x8_s(l0), i32x4.extend_high_i16x8_s(h0), d1);
  put_scaled(out + 64, i32x4.extend_low_i16x8_s(l1), i32x4.extend_low_i16x8_s(h1), d2);
  put_scaled(out + 96, i32x4.extend_high_i16x8_s(l1), i32x4.extend_high_i16x8_s(h1), d3);
}

function put_scaled(out: usize, low: v128, high: v128, scale: f32): void {
  const d = f32x4.splat(scale);
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(low), d));
  v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(high), d), 16);
}

/**
 * The gradient of a segment's m: sums[0] += Σ_t ⟨g[t], x[t]⟩ with g = Aᵀ (Bᵀ dY), which is Σ_t ⟨dY[t], B A x[t]⟩.
 * g, x  [n, cols] f32. Rows in f32, four lanes; their sums in f64. Thread `owner` does it.
 */
export function add_dot(
  sums: usize,
  g: usize,
  x: usize,
  n: i32,
  cols: i32,
  owner: i32,
  tid: i32,
): void {
  if (tid !== owner) return;
  let sum: f64 = 0;
  for (let token = 0; token < n; token++) {
    let part = f32x4.splat(0);
    for (let c = 0; c < cols; c += 4) {
      const left = cols - c;
      const at = (usize(token) * cols + c) << 2;
      part = f32x4.add(part, f32x4.mul(load_rows(g + at, left), load_rows(x + at, left)));
    }
    sum +=
      f64(f32x4.extract_lane(part, 0)) +
      f64(f32x4.extract_lane(part, 1)) +
      f64(f32x4.extract_lane(part, 2)) +
      f64(f32x4.extract_lane(part, 3));
  }
  store<f32>(sums, f32(f64(load<f32>(sums)) + sum));
}

/** to [count] += m · from. */
export function add_scaled(
  to: usize,
  from: usize,
  count: i32,
  m: f32,
  tid: i32,
  threads: i32,
): void {
  const quads = (count + 3) >> 2;
  const end = split(quads, tid + 1, threads);
  for (let quad = split(quads, tid, threads); quad < end; quad++) {
    const at = usize(quad) << 4;
    const left = count - (quad << 2);
    const value = f32x4.add(
      load_rows(to + at, left),
      f32x4.mul(f32x4.splat(m), load_rows(from + at, left)),
    );
    put_rows(to + at, value, left);
  }
}

/** sums[0] += Σ_t Σ_r dy[t][r] bias[r]: the share of a segment's bias. dy [n, stride]. */
export function add_bias_dot(
  sums: usize,
  dy: usize,
  stride: i32,
  bias: usize,
  n: i32,
  rows: i32,
  owner: i32,
  tid: i32,
): void {
  if (tid !== owner) return;
  let sum: f64 = 0;
  for (let token = 0; token < n; token++) {
    const from = dy + ((usize(token) * stride) << 2);
    for (let r = 0; r < rows; r++) {
      sum += f64(load<f32>(from + (r << 2))) * f64(load<f32>(bias + (r << 2)));
    }
  }
  store<f32>(sums, f32(f64(load<f32>(sums)) + sum));
}
