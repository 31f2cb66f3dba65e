// Activations into panels (layout.ts): f32 transposed, or quantized per token and block of 32 columns:
//   d = amax / 127, q = round(x · (127 / amax)), s = d Σ q      (round to nearest, ties to even; d = 0 if 127 / amax overflows)
// The last block is filled with zeros.

import { greatest, round_magic, round_to_i32 } from "./lanes";
import {
  BLOCK_BYTES_I8,
  BLOCK_BYTES_I16,
  block_count,
  panel_count,
  panel_token,
  split,
} from "./layout";
import { load_rows } from "./store";

/**
 * dst     f32 panels, cols × 4 bytes per token
 * x       [n, xStride] f32, xStride in elements
 */
export function pack_activations_f32(
  dst: usize,
  x: usize,
  xStride: i32,
  n: i32,
  cols: i32,
  tid: i32,
  threads: i32,
): void {
  const panels = panel_count(n);
  const end = split(panels, tid + 1, threads);
  for (let panel = split(panels, tid, threads); panel < end; panel++) {
    const token = panel_token(panel, n);
    let from = x + ((token * xStride) << 2);
    let to = dst + usize(token) * (cols << 2);
    if (panel >= n >> 2) {
      memory.copy(to, from, cols << 2);
      continue;
    }
    const stride = usize(xStride) << 2;
    for (let col = 0; col < cols; col++) {
      store<f32>(to, load<f32>(from));
      store<f32>(to, load<f32>(from + stride), 4);
      store<f32>(to, load<f32>(from + 2 * stride), 8);
      store<f32>(to, load<f32>(from + 3 * stride), 12);
      from += 4;
      to += 16;
    }
  }
}

/**
 * dst     int16 panels, blocks × 72 bytes per token; where `narrow`, int8 panels, blocks × 40
 * x       [n, xStride] f32, xStride in elements
 */
export function pack_activations_q8(
  dst: usize,
  x: usize,
  xStride: i32,
  n: i32,
  cols: i32,
  narrow: bool,
  tid: i32,
  threads: i32,
): void {
  const blocks = block_count(cols);
  const blockBytes = narrow ? BLOCK_BYTES_I8 : BLOCK_BYTES_I16;
  const full = n >> 2;
  const end = split(n * blocks, tid + 1, threads);
  for (let unit = split(n * blocks, tid, threads); unit < end; unit++) {
    const token = unit / blocks;
    const block = unit % blocks;
    const from = x + ((token * xStride + (block << 5)) << 2);
    const nCols = min(32, cols - (block << 5));
    const width = token < full << 2 ? 4 : 1;
    const lane = width === 4 ? token & 3 : 0;
    const to = dst + usize(token - lane) * blocks * blockBytes + block * blockBytes * width;
    if (narrow) pack_block<i8>(to, from, nCols, width, lane);
    else pack_block<i16>(to, from, nCols, width, lane);
  }
}

/** Int: i16 or i8. Stores a token's 32 columns as 32-bit values, `width` of them apart. */
function pack_block<Int>(to: usize, from: usize, nCols: i32, width: i32, lane: i32): void {
  const v0 = load_columns(from, nCols);
  const v1 = load_columns(from + 16, nCols - 4);
  const v2 = load_columns(from + 32, nCols - 8);
  const v3 = load_columns(from + 48, nCols - 12);
  const v4 = load_columns(from + 64, nCols - 16);
  const v5 = load_columns(from + 80, nCols - 20);
  const v6 = load_columns(from + 96, nCols - 24);
  const v7 = load_columns(from + 112, nCols - 28);
  const top = greatest(
    max_abs(max_abs(max_abs(v0, v1), max_abs(v2, v3)), max_abs(max_abs(v4, v5), max_abs(v6, v7))),
  );
  let scale = top / 127;
  let inverse: f32 = top > 0 ? 127 / top : 0;
  if (inverse === Infinity) {
    scale = 0;
    inverse = 0;
  }
  const factor = f32x4.splat(inverse);
  const magic = round_magic(width);
  const q0 = round_to_i32(f32x4.mul(v0, factor), magic);
  const q1 = round_to_i32(f32x4.mul(v1, factor), magic);
  const q2 = round_to_i32(f32x4.mul(v2, factor), magic);
  const q3 = round_to_i32(f32x4.mul(v3, factor), magic);
  const q4 = round_to_i32(f32x4.mul(v4, factor), magic);
  const q5 = round_to_i32(f32x4.mul(v5, factor), magic);
  const q6 = round_to_i32(f32x4.mul(v6, factor), magic);
  const q7 = round_to_i32(f32x4.mul(v7, factor), magic);
  const total = sum_lanes(
    i32x4.add(
      i32x4.add(i32x4.add(q0, q1), i32x4.add(q2, q3)),
      i32x4.add(i32x4.add(q4, q5), i32x4.add(q6, q7)),
    ),
  );
  store<f32>(to + (lane << 2), scale);
  store<f32>(to + ((width + lane) << 2), scale * f32(total));

  const at = to + (width << 3) + (lane << 2);
  const a = i16x8.narrow_i32x4_s(q0, q1);
  const b = i16x8.narrow_i32x4_s(q2, q3);
  const c = i16x8.narrow_i32x4_s(q4, q5);
  const d = i16x8.narrow_i32x4_s(q6, q7);
  if (sizeof<Int>() === 2) {
    put(at, a, width);
    put(at + (width << 4), b, width);
    put(at + (width << 5), c, width);
    put(at + 48 * width, d, width);
  } else {
    put(at, i8x16.narrow_i16x8_s(a, b), width);
    put(at + (width << 4), i8x16.narrow_i16x8_s(c, d), width);
  }
}

/** Four columns, of which `nCols` exist. */
function load_columns(from: usize, nCols: i32): v128 {
  if (nCols >= 4) return v128.load(from);
  return nCols > 0 ? load_rows(from, nCols) : f32x4.splat(0);
}

/** Of the magnitudes; negative zeros and what they hide do no harm. */
function max_abs(a: v128, b: v128): v128 {
  return f32x4.pmax(f32x4.abs(a), f32x4.abs(b));
}

function sum_lanes(v: v128): i32 {
  return (
    i32x4.extract_lane(v, 0) +
    i32x4.extract_lane(v, 1) +
    i32x4.extract_lane(v, 2) +
    i32x4.extract_lane(v, 3)
  );
}

/** Four 32-bit values, `width` of them apart. */
function put(at: usize, values: v128, width: i32): void {
  if (width === 1) {
    v128.store(at, values);
    return;
  }
  v128.store_lane<i32>(at, values, 0);
  v128.store_lane<i32>(at, values, 1, 16);
  v128.store_lane<i32>(at, values, 2, 32);
  v128.store_lane<i32>(at, values, 3, 48);
}
