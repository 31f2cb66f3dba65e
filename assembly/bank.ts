// The bank beside a base weight, down to the ranks: h = m (A x), for all segments that read the same activations.
//
// The A of a segment is a tile or two of rows. Four tiles of whatever segments go side by side, so that a bank, too, comes from
// memory in four streams; one after another, each of its short pieces would wait for memory anew.
import { PART_BYTES, part_columns, part_token, STORE, split } from "./layout";
import { tile_8x1, tile_8x4, tile_32x1 } from "./tiles";

/**
 * Of a table's entries: a part (layout.ts) of one tile; where its m of the first token lies, in bytes from the table's start; bytes
 * to the m of the next token. All entries have the same activations and columns.
 */
const ENTRY_BYTES: usize = PART_BYTES + 8;

/**
 * h[t][8 i + r] = m_i[t] · (A_i x_t)[r] for tile i of the table
 * h       [n, hStride] f32, hStride in elements
 * table   entries of tiles of 8 rows; rows that do not exist give 0
 */
export function bank_down<W>(
  h: usize,
  hStride: i32,
  table: usize,
  tiles: i32,
  n: i32,
  tid: i32,
  threads: i32,
): void {
  const panels = n >> 2;
  const end = split(tiles * panels, tid + 1, threads);
  for (let unit = split(tiles * panels, tid, threads); unit < end; unit++) {
    const tile = unit / panels;
    const token = (unit % panels) << 2;
    const entry = table + usize(tile) * ENTRY_BYTES;
    const to = h + ((token * hStride + (tile << 3)) << 2);
    tile_8x4<W>(to, hStride, entry, entry + PART_BYTES, 0, token, 8, 0, STORE);
    for (let i = 0; i < 4; i++) scale_tile(to + ((i * hStride) << 2), table, entry, token + i);
  }
  const cols = part_columns(table);
  const first = split(tiles, tid, threads);
  const last = split(tiles, tid + 1, threads);
  for (let token = panels << 2; token < n; token++) {
    const x = part_token(table, token);
    let entry = table + usize(first) * ENTRY_BYTES;
    let to = h + ((token * hStride + (first << 3)) << 2);
    let tile = first;
    for (; tile + 4 <= last; tile += 4) {
      const w = load<usize>(entry);
      const w1 = load<usize>(entry, ENTRY_BYTES);
      const w2 = load<usize>(entry, 2 * ENTRY_BYTES);
      const w3 = load<usize>(entry, 3 * ENTRY_BYTES);
      tile_32x1<W>(to, 32, w, w1, w2, w3, x, cols, 0, STORE);
      for (let i = 0; i < 4; i++) {
        scale_tile(to, table, entry, token);
        entry += ENTRY_BYTES;
        to += 32;
      }
    }
    for (; tile < last; tile++) {
      tile_8x1<W>(to, load<usize>(entry), x, cols, 8, 0, STORE);
      scale_tile(to, table, entry, token);
      entry += ENTRY_BYTES;
      to += 32;
    }
  }
}

/** Eight results, times m. */
function scale_tile(to: usize, table: usize, entry: usize, token: i32): void {
  const at = table + load<i32>(entry, PART_BYTES) + token * load<i32>(entry, PART_BYTES + 4);
  const m = v128.load_splat<f32>(at);
  v128.store(to, f32x4.mul(v128.load(to), m));
  v128.store(to, f32x4.mul(v128.load(to, 16), m), 16);
}
