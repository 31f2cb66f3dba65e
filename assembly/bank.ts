// The bank beside a base weight, down to the ranks: h = m (A x), for all segments that read the same activations.
//
// The A of a segment is a tile or two of rows. Four tiles of whatever segments go side by side, so that a bank, too, comes from
// memory in four streams; one after another, each of its short pieces would wait for memory anew.
import { STORE, split } from "./layout";
import { tile_8x1, tile_8x4, tile_32x1 } from "./tiles";

/**
 * Of a table's entries, three i32 each: the address of the tile's weights; where its m of the first token lies, in bytes from the
 * table's start; bytes to the m of the next token.
 */
const ENTRY_BYTES: i32 = 12;

/**
 * h[t][8 i + r] = m_i[t] · (A_i x_t)[r] for tile i of the table
 * h       [n, hStride] f32, hStride in elements
 * table   entries of tiles of 8 rows; rows that do not exist give 0
 * x       packed activations (layout.ts); xToken bytes per token
 */
export function bank_down<W>(
  h: usize,
  hStride: i32,
  table: usize,
  tiles: i32,
  x: usize,
  xToken: i32,
  n: i32,
  cols: i32,
  tid: i32,
  threads: i32,
): void {
  const panels = n >> 2;
  const end = split(tiles * panels, tid + 1, threads);
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const token = (unit % panels) << 2;
    const entry = table + tile * ENTRY_BYTES;
    const out = h + ((token * hStride + (tile << 3)) << 2);
    const tileX = x + usize(token) * xToken;
    tile_8x4<W>(out, hStride, load<usize>(entry), tileX, cols, 8, 0, STORE);
    const m = table + load<i32>(entry, 4) + token * load<i32>(entry, 8);
    for (let i = 0; i < 4; i++) {
      scale_tile(out + ((i * hStride) << 2), m + i * load<i32>(entry, 8));
    }
  }
  const first = split(tiles, tid, threads);
  const last = split(tiles, tid + 1, threads);
  for (let token = panels << 2; token < n; token++) {
    const tileX = x + usize(token) * xToken;
    let entry = table + first * ENTRY_BYTES;
    let out = h + ((token * hStride + (first << 3)) << 2);
    let tile = first;
    for (; tile + 4 <= last; tile += 4) {
      const w = load<usize>(entry);
      const w1 = load<usize>(entry, ENTRY_BYTES);
      const w2 = load<usize>(entry, 2 * ENTRY_BYTES);
      const w3 = load<usize>(entry, 3 * ENTRY_BYTES);
      tile_32x1<W>(out, 32, w, w1, w2, w3, tileX, cols, 0, STORE);
      for (let i = 0; i < 4; i++) {
        scale_tile(out, table + load<i32>(entry, 4) + token * load<i32>(entry, 8));
        entry += ENTRY_BYTES;
        out += 32;
      }
    }
    for (; tile < last; tile++) {
      tile_8x1<W>(out, load<usize>(entry), tileX, cols, 8, 0, STORE);
      scale_tile(out, table + load<i32>(entry, 4) + token * load<i32>(entry, 8));
      entry += ENTRY_BYTES;
      out += 32;
    }
  }
}

/** Eight results, times m. */
function scale_tile(out: usize, m: usize): void {
  const factor = v128.load_splat<f32>(m);
  v128.store(out, f32x4.mul(v128.load(out), factor));
  v128.store(out, f32x4.mul(v128.load(out, 16), factor), 16);
}
