// Activations into panels (layout.ts): f32 transposed, or quantized per token and block of 32 columns:
//   d = amax / 127, q = round(x · (127 / amax)), s = d Σ q      (round to nearest, ties to even; d = 0 if 127 / amax overflows)
// The last block is filled with zeros.
import {
  BLOCK_BYTES_I8,
  BLOCK_BYTES_I16,
  block_count,
  panel_count,
  panel_token,
  split,
} from "./layout";

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
  let amax = f32x4.splat(0);
  let col = 0;
  for (; col + 4 <= nCols; col += 4) {
    amax = f32x4.pmax(amax, f32x4.abs(v128.load(from + (col << 2))));
  }
  let top = max(
    max(f32x4.extract_lane(amax, 0), f32x4.extract_lane(amax, 1)),
    max(f32x4.extract_lane(amax, 2), f32x4.extract_lane(amax, 3)),
  );
  for (; col < nCols; col++) top = max(top, abs(load<f32>(from + (col << 2))));

  let scale = top / 127;
  let inverse: f32 = top > 0 ? 127 / top : 0;
  if (inverse === Infinity) {
    scale = 0;
    inverse = 0;
  }
  const factor = f32x4.splat(inverse);
  let sum = i32x4.splat(0);
  let at = to + (width << 3) + (lane << 2);
  const stride = width << 2;
  for (col = 0; col < 32; col += 4) {
    let value = f32x4.splat(0);
    if (col + 4 <= nCols) {
      value = v128.load(from + (col << 2));
    } else {
      if (col < nCols) value = f32x4.replace_lane(value, 0, load<f32>(from + (col << 2)));
      if (col + 1 < nCols) value = f32x4.replace_lane(value, 1, load<f32>(from + (col << 2), 4));
      if (col + 2 < nCols) value = f32x4.replace_lane(value, 2, load<f32>(from + (col << 2), 8));
    }
    const q = i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(value, factor)));
    sum = i32x4.add(sum, q);
    const q16 = i16x8.narrow_i32x4_s(q, q);
    if (sizeof<Int>() === 2) {
      v128.store_lane<i32>(at, q16, 0);
      at += stride;
      v128.store_lane<i32>(at, q16, 1);
    } else {
      v128.store_lane<i32>(at, i8x16.narrow_i16x8_s(q16, q16), 0);
    }
    at += stride;
  }
  const total =
    i32x4.extract_lane(sum, 0) +
    i32x4.extract_lane(sum, 1) +
    i32x4.extract_lane(sum, 2) +
    i32x4.extract_lane(sum, 3);
  store<f32>(to + (lane << 2), scale);
  store<f32>(to + ((width + lane) << 2), scale * f32(total));
}
