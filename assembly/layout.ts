// The layouts that kernels and packers share. TypeScript's side of them is src/backend/wasm/layout.ts.
//
// Weights. Rows are taken 8 at a time (a *tile*): two groups of 4, one row per lane. Missing rows of the last tile are zero.
//   f32  per column: 8 f32.
//   q8   per block of 32 columns: 8 f32 scales, then per quad (4 columns): group 0, group 1, each 4 rows × 4 int8.
//   q4   per block of 32 columns: 8 f32 scales, 8 f32 minimums, then per two quads: group 0, group 1, each 4 rows × 4 bytes;
//        low nibbles hold the first quad, high nibbles the second.
//   The last block holds only the quads (q8) or pairs of quads (q4) that its columns need.
//
// Activations. Tokens are taken 4 at a time (a *panel*); the last n % 4 tokens are panels of their own. P = 4 or 1:
//   f32  per column: P f32.
//   q8   per block: P f32 scales, P f32 sums (scale × Σ q), then per quad: P × 4 int16.
//   q4   as q8; in the relaxed builds int8 instead of int16.
//   A panel that begins at token t lies at t × (bytes per token), whatever P is.

/** Bytes of one block of one token, int16 and int8. */
export const BLOCK_BYTES_I16: i32 = 72;
export const BLOCK_BYTES_I8: i32 = 40;

/** Bytes of a whole block of a tile of weights. */
export const Q8_BLOCK_BYTES: i32 = 288;
export const Q4_BLOCK_BYTES: i32 = 192;

/** Quantization blocks of a row. */
export function block_count(cols: i32): i32 {
  return (cols + 31) >> 5;
}

/** Quads in the last block of a q8 row. */
export function last_quads(cols: i32): i32 {
  return (((cols - 1) & 31) + 4) >> 2;
}

/** Pairs of quads in the last block of a q4 row. */
export function last_pairs(cols: i32): i32 {
  return (((cols - 1) & 31) + 8) >> 3;
}

export function q8_tile_bytes(cols: i32): usize {
  return usize(block_count(cols) - 1) * Q8_BLOCK_BYTES + 32 + (last_quads(cols) << 5);
}

export function q4_tile_bytes(cols: i32): usize {
  return usize(block_count(cols) - 1) * Q4_BLOCK_BYTES + 64 + (last_pairs(cols) << 5);
}

/** How a product is stored. */
export const STORE: i32 = 0; // out = acc + bias
export const ADD: i32 = 1; // out = out + (acc + bias)
export const CONTINUE: i32 = 2; // acc starts at out

/** Panels of n tokens: full ones of 4, then one per remaining token. */
export function panel_count(n: i32): i32 {
  return (n >> 2) + (n & 3);
}

/** First token of a panel. Panels before n >> 2 are 4 wide. */
export function panel_token(panel: i32, n: i32): i32 {
  const full = n >> 2;
  return panel < full ? panel << 2 : (full << 2) + (panel - full);
}

/** First unit of thread `tid` when `units` are split evenly in order. */
export function split(units: i32, tid: i32, threads: i32): i32 {
  return i32((i64(units) * tid) / threads);
}
