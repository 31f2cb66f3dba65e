// y = W x, for every type of weight: how the work is cut and shared out. A tile's arithmetic is in linear-<type>.ts.
//
// Full panels (4 tokens) take a tile of 8 rows at a time. The last n % 4 tokens are computed one by one: four tiles that lie a
// quarter of the thread's rows apart go side by side. They are four streams through memory, which the processor fetches ahead
// of each other, so they arrive faster than one.
import { split, tile_bytes } from "./layout";
import { tile_8x1, tile_8x4, tile_32x1 } from "./tiles";

/**
 * W       type of the weights (layout.ts)
 * out     [n, outStride] f32, outStride in elements
 * w       packed weights [rows, cols]
 * x       packed activations (layout.ts); xToken bytes per token
 * bias    [rows] f32, or 0
 * mode    STORE: out = W x + bias; ADD: out += that; CONTINUE: the sum begins at out
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
        const step = usize(quarter) * tileBytes;
        const w1 = tileW + step;
        const w2 = w1 + step;
        const outStep = usize(quarter) << 5;
        tile_32x1<W>(tileOut, outStep, tileW, w1, w2, w2 + step, tileX, cols, tileBias, mode);
      } else {
        tile_8x1<W>(tileOut, tileW, tileX, cols, rows - (tile << 3), tileBias, mode);
      }
    }
  }
}
