// y = W x, for every type of weight: how the work is cut and shared out. A tile's arithmetic is in linear-<type>.ts.
//
// Full panels (4 tokens) take a tile of 8 rows at a time. The last n % 4 tokens are computed one by one: four tiles that lie a
// quarter of the thread's rows apart go side by side. They are four streams through memory, which the processor fetches ahead
// of each other, so they arrive faster than one.
import { PART_BYTES, part_columns, part_tile, part_token, split, tile_bytes } from "./layout";
import { tile_8x1, tile_8x4, tile_32x1 } from "./tiles";

/**
 * W       type of the weights (layout.ts)
 * out     [n, outStride] f32, outStride in elements
 * parts   of the product (layout.ts): packed weights [rows, cols] and activations each; y is the sum over them, in order.
 *         More than one only with mode CONTINUE
 * bias    [rows] f32, or 0
 * mode    STORE: out = y + bias; ADD: out += that; CONTINUE: the sum begins at out
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
  tid: i32,
  threads: i32,
): void {
  const partsEnd = parts + usize(nParts) * PART_BYTES;
  const tiles = (rows + 7) >> 3;
  const panels = n >> 2;
  const end = split(tiles * panels, tid + 1, threads);
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const token = (unit % panels) << 2;
    tile_8x4<W>(
      out + ((token * outStride + (tile << 3)) << 2),
      outStride,
      parts,
      partsEnd,
      tile,
      token,
      rows - (tile << 3),
      bias ? bias + (tile << 5) : 0,
      mode,
    );
  }
  if ((n & 3) === 0) return;
  for (let part = parts; part < partsEnd; part += PART_BYTES) {
    linear_rows<W>(out, outStride, part, panels << 2, n, rows, bias, mode, tid, threads);
  }
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
