// The layouts that kernels and packers share. TypeScript's side of them is src/backend/wasm/layout.ts.
//
// Weights. Rows are taken 8 at a time (a *tile*): two groups of 4, one row per lane. Missing rows of the last tile are zero.
//   f32, f16, bf16  per column: 8 of them.
//   q8   per block of 32 columns: 8 f32 scales, then per pair of columns: 8 rows × 2 int8.
//   q4   per block of 32 columns: 8 × bf16 scale and bf16 minimum, then per octet (8 columns): group 0, group 1, each 16 bytes,
//        whose low nibbles hold the octet's first four columns, the high nibbles its last four:
//          relaxed builds   4 rows × 4 columns
//          baseline builds  columns 0 and 1 of the four rows, then columns 2 and 3
//   The last block holds only the pairs (q8) or octets (q4) that its columns need.
//
// Activations. Tokens are taken 4 at a time (a *panel*); the last n % 4 tokens are panels of their own. P = 4 or 1:
//   f32  per column: P f32.
//   i16  per block: P f32 scales, P f32 sums (scale × Σ q), then per pair of columns: P × 2 int16.   q8; q4 in baseline builds
//   i8   per block: the same, then per four columns: P × 4 int8.                                      q4 in relaxed builds
//   A panel that begins at token t lies at t × (bytes per token), whatever P is.
//
// So one 32-bit value is a token's share of one product instruction: splat over the lanes, it meets four rows, whose sums come
// out side by side.
//
// Weight types as type parameters: f32, i16 (f16), u16 (bf16), i8 (q8), u8 (q4).

/** Bytes of one block of one token, int16 and int8. */
export const BLOCK_BYTES_I16: i32 = 72;
export const BLOCK_BYTES_I8: i32 = 40;

/** Bytes of a whole block of a tile of weights. */
export const Q8_BLOCK_BYTES: i32 = 288;
export const Q4_BLOCK_BYTES: i32 = 160;

/** Quantization blocks of a row. */
export function block_count(cols: i32): i32 {
  return (cols + 31) >> 5;
}

/** Pairs of columns in the last block of a q8 row. */
export function last_pairs(cols: i32): i32 {
  return (((cols - 1) & 31) + 2) >> 1;
}

/** Octets of columns in the last block of a q4 row. */
export function last_octets(cols: i32): i32 {
  return (((cols - 1) & 31) + 8) >> 3;
}

/** Whether weights are in blocks with scales, rather than floats. */
export function is_quantized<W>(): bool {
  return sizeof<W>() === 1;
}

/** Bytes of a tile of weights. */
export function tile_bytes<W>(cols: i32): usize {
  if (!is_quantized<W>()) return usize(cols) * (8 * sizeof<W>());
  const whole = usize(block_count(cols) - 1);
  if (isSigned<W>()) return whole * Q8_BLOCK_BYTES + 32 + (last_pairs(cols) << 4);
  return whole * Q4_BLOCK_BYTES + 32 + (last_octets(cols) << 5);
}

/** Offset of column `col` (0..31) of row `lane` (0..7) in a q8 block. */
export function q8_offset(col: i32, lane: i32): i32 {
  return 32 + ((col >> 1) << 4) + (lane << 1) + (col & 1);
}

/** Offset of the byte that holds column `col` (0..31) of row `lane` (0..7) in a q4 block; in its high nibble if col & 4. */
export function q4_offset(col: i32, lane: i32): i32 {
  const octet = 32 + ((col >> 3) << 5);
  if (ASC_FEATURE_RELAXED_SIMD) return octet + (lane << 2) + (col & 3);
  return octet + ((lane >> 2) << 4) + ((col & 2) << 2) + ((lane & 3) << 1) + (col & 1);
}

/**
 * 15 in every byte, 1 in every int16: made from a positive number, so that compilers cannot tell and keep them in registers.
 * V8 builds a constant vector anew wherever it is used, three instructions each.
 */
export function nibble_mask(positive: i32): v128 {
  return i8x16.splat(i8(15 | (positive >> 31)));
}

export function int16_ones(positive: i32): v128 {
  return i16x8.splat(i16(1 | (positive >> 31)));
}

/** The upper half of every int32, made likewise. */
export function bf16_mask(positive: i32): v128 {
  return i32x4.splat(i32(0xffff0000) | (positive >> 31));
}

/** The scales of four rows of a q4 block: the lower halves. */
export function q4_scales(pairs: v128): v128 {
  return i32x4.shl(pairs, 16);
}

/** Their minimums: the upper halves. mask: `bf16_mask` */
export function q4_minimums(pairs: v128, mask: v128): v128 {
  return v128.and(pairs, mask);
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

// A part of a product: weights and what they are multiplied with. Four 32-bit values: the address of the packed weights, that of
// the packed activations, their bytes per token, and columns.

export const PART_BYTES: usize = 16;

export function part_columns(part: usize): i32 {
  return load<i32>(part, 12);
}

/** The weights of a tile. */
export function part_tile<W>(part: usize, tile: i32): usize {
  return load<usize>(part) + usize(tile) * tile_bytes<W>(part_columns(part));
}

/** The activations from a token on. */
export function part_token(part: usize, token: i32): usize {
  return load<usize>(part, 4) + usize(token) * load<usize>(part, 8);
}
