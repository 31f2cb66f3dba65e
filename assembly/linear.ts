// y = W x, for every type of weight: how the work is cut and shared out. A tile's arithmetic is in linear-<type>.ts.
//
// Full panels (4 tokens) take a tile of 8 rows at a time; 16-bit floats are first converted, once for all panels. The last n % 4
// tokens are computed one by one: four tiles that lie a quarter of the thread's rows apart go side by side. They are four streams
// through memory, which the processor fetches ahead of each other, so they arrive faster than one. Rows of a bank's B are so short
// that they have a loop of their own.
import {
  CONTINUE,
  is_quantized,
  PART_BYTES,
  part_columns,
  part_tile,
  part_token,
  split,
  tile_bytes,
} from "./layout";
import { tile_8x4 as f32_tile_8x4, widen_tile } from "./linear-f32";
import { add_short_rows, tile_8x1, tile_8x4, tile_32x1 } from "./tiles";

/**
 * W       type of the weights (layout.ts)
 * out     [n, outStride] f32, outStride in elements
 * parts   of the product (layout.ts): packed weights [rows, cols] and activations each; y is the sum over them, in order.
 *         More than one only with mode CONTINUE
 * bias    [rows] f32, or 0
 * mode    STORE: out = y + bias; ADD: out += that; CONTINUE: the sum begins at out
 * scratch for 16-bit floats and at least 4 tokens: per thread 16 + 32 × cols bytes, 16-byte aligned
 */
export function linear<W>(
  out: usize,
  outStride: i32,
  parts: usize,
  nParts: i32,
  n: i32,
  rows: i32,
  bias: usize,
  mode: i32,
  scratch: usize,
  tid: i32,
  threads: i32,
): void {
  const partsEnd = parts + usize(nParts) * PART_BYTES;
  const tiles = (rows + 7) >> 3;
  const panels = n >> 2;
  const end = split(tiles * panels, tid + 1, threads);
  const room = scratch + usize(tid) * (PART_BYTES + tile_bytes<f32>(part_columns(parts)));
  let widened = -1;
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const token = (unit % panels) << 2;
    const to = out + ((token * outStride + (tile << 3)) << 2);
    const nRows = rows - (tile << 3);
    const tileBias = bias ? bias + (tile << 5) : 0;
    if (is_quantized<W>() || isFloat<W>()) {
      tile_8x4<W>(to, outStride, parts, partsEnd, tile, token, nRows, tileBias, mode);
    } else {
      if (tile !== widened) {
        widened = tile;
        widen_part<W>(room, parts, tile);
      }
      f32_tile_8x4(to, outStride, room, room + PART_BYTES, 0, token, nRows, tileBias, mode);
    }
  }
  if ((n & 3) === 0) return;
  if (is_quantized<W>() || isFloat<W>()) {
    if (mode === CONTINUE && (rows & 7) === 0 && are_short(parts, partsEnd)) {
      const first = split(tiles, tid, threads);
      const last = split(tiles, tid + 1, threads);
      for (let token = panels << 2; token < n; token++) {
        const to = out + ((token * outStride + (first << 3)) << 2);
        add_short_rows<W>(to, parts, partsEnd, token, first, last);
      }
      return;
    }
  }
  for (let part = parts; part < partsEnd; part += PART_BYTES) {
    linear_rows<W>(out, outStride, part, panels << 2, n, rows, bias, mode, tid, threads);
  }
}

/** Whether every part is at most a block wide, as a bank's B mostly is. */
function are_short(parts: usize, partsEnd: usize): bool {
  for (let part = parts; part < partsEnd; part += PART_BYTES) {
    if (part_columns(part) > 32) return false;
  }
  return true;
}

/** A part of one tile in f32, followed by its weights. */
function widen_part<W>(room: usize, part: usize, tile: i32): void {
  v128.store(room, v128.load(part));
  store<usize>(room, room + PART_BYTES);
  widen_tile<W>(room + PART_BYTES, part_tile<W>(part, tile), part_columns(part));
}

/** The tokens from `start` to `n`, one by one. */
function linear_rows<W>(
  out: usize,
  outStride: i32,
  part: usize,
  start: i32,
  n: i32,
  rows: i32,
  bias: usize,
  mode: i32,
  tid: i32,
  threads: i32,
): void {
  const cols = part_columns(part);
  const tiles = (rows + 7) >> 3;
  const first = split(tiles, tid, threads);
  const last = split(tiles, tid + 1, threads);
  const quarter = max(0, min(last, rows >> 3) - first) >> 2;
  const step = usize(quarter) * tile_bytes<W>(cols);
  const outStep = usize(quarter) << 5;
  for (let tile = first; tile < last; tile++) {
    const apart = tile < first + quarter;
    if (!apart && tile < first + (quarter << 2)) continue;
    const w = part_tile<W>(part, tile);
    const tileBias = bias ? bias + (tile << 5) : 0;
    for (let token = start; token < n; token++) {
      const to = out + ((token * outStride + (tile << 3)) << 2);
      const x = part_token(part, token);
      if (apart) {
        const w2 = w + 2 * step;
        tile_32x1<W>(to, outStep, w, w + step, w2, w2 + step, x, cols, tileBias, mode);
      } else {
        tile_8x1<W>(to, w, x, cols, rows - (tile << 3), tileBias, mode);
      }
    }
  }
}
