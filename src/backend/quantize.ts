// The rounding of q8 and q4, defined once. Every operation is one f32 operation, rounded to nearest even, so that backends
// can repeat it bit for bit. Nothing here knows how a backend lays out its memory.
import { ceilToBf16, floorToBf16 } from "./bf16.ts";

/** Columns (or ranks) that share one scale. */
export const BLOCK = 32;

/** Number of blocks that hold `cols` columns; the last one may be partly empty. */
export function blockCount(cols: number): number {
  return Math.ceil(cols / BLOCK);
}

/** Quantized rows in the plainest layout. Columns beyond `cols` are 0 and belong to no minimum or maximum. */
export interface QuantizedRows {
  readonly rows: number;
  readonly cols: number;
  /** `blockCount(cols)` */
  readonly blocks: number;
  /** [rows, blocks × 32]; -127..127 (q8) or 0..15 (q4) */
  readonly q: Int8Array;
  /** Scale d of each block [rows, blocks] */
  readonly d: Float32Array;
  /** Minimum m of each block [rows, blocks]; q4 only, where m and d are bf16 */
  readonly m: Float32Array | undefined;
}

/** Room for quantized rows, all zero. */
export function createQuantizedRows(rows: number, cols: number, type: "q8" | "q4"): QuantizedRows {
  const blocks = blockCount(cols);
  return {
    rows,
    cols,
    blocks,
    q: new Int8Array(rows * blocks * BLOCK),
    d: new Float32Array(rows * blocks),
    m: type === "q4" ? new Float32Array(rows * blocks) : undefined,
  };
}

/**
 * Quantizes one row into row `row` of `out`; q4 if `out` has minima, else q8.
 * @param x values; `out.cols` of them from `start` are read
 */
export function quantizeRow(
  out: QuantizedRows,
  row: number,
  x: Float32Array,
  start: number = row * out.cols,
): void {
  for (let block = 0; block < out.blocks; block++) {
    const first = block * BLOCK;
    const n = Math.min(BLOCK, out.cols - first);
    const at = row * out.blocks + block;
    if (out.m === undefined) {
      out.d[at] = quantizeBlockQ8(x, start + first, n, out.q, at * BLOCK);
    } else {
      const { d, m } = quantizeBlockQ4(x, start + first, n, out.q, at * BLOCK);
      out.d[at] = d;
      out.m[at] = m;
    }
  }
}

/** Quantizes f32 rows [rows, cols], row-major. */
export function quantizeRows(
  x: Float32Array,
  rows: number,
  cols: number,
  type: "q8" | "q4",
): QuantizedRows {
  const out = createQuantizedRows(rows, cols, type);
  for (let row = 0; row < rows; row++) quantizeRow(out, row, x);
  return out;
}

/**
 * One block to int8: amax = max |x|, d = amax / 127, q = roundHalfEven(x · (127 / amax)).
 * Where 127 / amax is not finite (zero or subnormal amax) the block is zero.
 * @param n columns, at most 32
 * @param q receives n values from `at`
 * @returns d
 */
export function quantizeBlockQ8(
  x: Float32Array,
  start: number,
  n: number,
  q: Int8Array,
  at: number,
): number {
  let amax = 0;
  for (let i = 0; i < n; i++) amax = Math.max(amax, Math.abs(x[start + i]!));
  const inverse = amax > 0 ? Math.fround(127 / amax) : 0;
  if (inverse === Number.POSITIVE_INFINITY) {
    q.fill(0, at, at + n);
    return 0;
  }
  for (let i = 0; i < n; i++) q[at + i] = roundHalfEven(Math.fround(x[start + i]! * inverse));
  return Math.fround(amax / 127);
}

/**
 * One block to 4 bits, whose minimum m and scale d are bf16: m = the largest bf16 ≤ min x, d = the smallest bf16 ≥
 * (max x - m) / 15, so that the steps reach over all values; q = min(15, roundHalfEven((x - m) · (1 / d))).
 * Where 1 / d is not finite (all values are m, or next to it) d and all q are 0.
 * @param n columns, at most 32
 * @param q receives n values in 0..15 from `at`
 */
export function quantizeBlockQ4(
  x: Float32Array,
  start: number,
  n: number,
  q: Int8Array,
  at: number,
): { d: number; m: number } {
  let lo = x[start]!;
  let hi = lo;
  for (let i = 1; i < n; i++) {
    lo = Math.min(lo, x[start + i]!);
    hi = Math.max(hi, x[start + i]!);
  }
  const m = floorToBf16(lo);
  const d = ceilToBf16(Math.fround(Math.fround(hi - m) / 15));
  const inverse = Math.fround(1 / d);
  if (inverse === Number.POSITIVE_INFINITY) {
    q.fill(0, at, at + n);
    return { d: 0, m };
  }
  for (let i = 0; i < n; i++) {
    const scaled = Math.fround(Math.fround(x[start + i]! - m) * inverse);
    q[at + i] = Math.min(15, roundHalfEven(scaled));
  }
  return { d, m };
}

/** Column `col` of a quantized row: d q, or d q + m. */
export function dequantize(rows: QuantizedRows, row: number, col: number): number {
  const block = row * rows.blocks + Math.floor(col / BLOCK);
  const product = Math.fround(rows.d[block]! * rows.q[block * BLOCK + (col % BLOCK)]!);
  return rows.m === undefined ? product : Math.fround(product + rows.m[block]!);
}

/**
 * Adds the product of a weight row and an activation row (q8) to `sum`, block after block:
 * sum += (Σ qw qx) · (dw · dx), the integer sum being exact, and for q4 then sum += mw · (dx · Σ qx).
 */
export function addBlockProducts(
  sum: number,
  w: QuantizedRows,
  wRow: number,
  x: QuantizedRows,
  xRow: number,
): number {
  for (let block = 0; block < w.blocks; block++) {
    const wBlock = wRow * w.blocks + block;
    const xBlock = xRow * x.blocks + block;
    let products = 0;
    let xSum = 0;
    for (let i = 0; i < BLOCK; i++) {
      const qx = x.q[xBlock * BLOCK + i]!;
      products += w.q[wBlock * BLOCK + i]! * qx;
      xSum += qx;
    }
    const dx = x.d[xBlock]!;
    sum = Math.fround(sum + Math.fround(products * Math.fround(w.d[wBlock]! * dx)));
    if (w.m !== undefined) {
      sum = Math.fround(sum + Math.fround(w.m[wBlock]! * Math.fround(dx * xSum)));
    }
  }
  return sum;
}

/** Beside 1.5 · 2^52 a double has no room for a fraction: adding it rounds, ties to even. */
const ROUNDER = 1.5 * 2 ** 52;

/** Nearest integer of |x| < 2^51, ties to even, as wasm's `f32.nearest` (which may say -0 where this says 0). */
export function roundHalfEven(x: number): number {
  return x + ROUNDER - ROUNDER;
}
