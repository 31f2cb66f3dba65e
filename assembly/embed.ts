// Embedding lookup: out[i] = scale · W[ids[i]], dequantized from the packed table. Split over threads by token.
import { load_float } from "./half";
import { Q4_BLOCK_BYTES, Q8_BLOCK_BYTES, q4_offset, q8_offset, split, tile_bytes } from "./layout";

/**
 * W       f32, i16 (f16) or u16 (bf16)
 * out     [n, cols] f32
 * table   packed weights [vocabulary, cols]
 * ids     [n] i32, checked by the caller
 */
export function embed_floats<W>(
  out: usize,
  table: usize,
  ids: usize,
  n: i32,
  cols: i32,
  scale: f32,
  tid: i32,
  threads: i32,
): void {
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const row = load<u32>(ids + (i << 2));
    let w = table + usize(row >> 3) * tile_bytes<W>(cols) + (row & 7) * sizeof<W>();
    let to = out + usize(i) * (cols << 2);
    for (let col = 0; col < cols; col++) {
      store<f32>(to, scale * load_float<W>(w));
      w += 8 * sizeof<W>();
      to += 4;
    }
  }
}

/** As embed_floats, from q8: w = d q. */
export function embed_q8(
  out: usize,
  table: usize,
  ids: usize,
  n: i32,
  cols: i32,
  scale: f32,
  tid: i32,
  threads: i32,
): void {
  const tileBytes = tile_bytes<i8>(cols);
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const row = load<u32>(ids + (i << 2));
    const w = table + usize(row >> 3) * tileBytes;
    const lane = row & 7;
    const to = out + usize(i) * (cols << 2);
    for (let col = 0; col < cols; col++) {
      const block = w + (col >> 5) * Q8_BLOCK_BYTES;
      const q = load<i8>(block + q8_offset(col & 31, lane));
      store<f32>(to + (col << 2), scale * (load<f32>(block + (lane << 2)) * f32(q)));
    }
  }
}

/** As embed_floats, from q4: w = d q + m. */
export function embed_q4(
  out: usize,
  table: usize,
  ids: usize,
  n: i32,
  cols: i32,
  scale: f32,
  tid: i32,
  threads: i32,
): void {
  const tileBytes = tile_bytes<u8>(cols);
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const row = load<u32>(ids + (i << 2));
    const w = table + usize(row >> 3) * tileBytes;
    const lane = row & 7;
    const to = out + usize(i) * (cols << 2);
    for (let col = 0; col < cols; col++) {
      const block = w + (col >> 5) * Q4_BLOCK_BYTES;
      const byte = load<u8>(block + q4_offset(col & 31, lane));
      const q = f32(col & 4 ? byte >> 4 : byte & 15);
      const pair = load<u32>(block + (lane << 2));
      const weight = reinterpret<f32>(pair << 16) * q + reinterpret<f32>(pair & 0xffff0000);
      store<f32>(to + (col << 2), scale * weight);
    }
  }
}
