// Checks of operands that the kernels themselves do not make: a wrong shape is a programming error above, not bad input.
import type { KvCache, Matrix, Segment, Span, Tensor } from "../backend.ts";

export function requireRoom(tensor: Tensor, n: number, cols: number): void {
  if (n > tensor.rows || cols !== tensor.cols) {
    throw new Error(`tensor is [${tensor.rows}, ${tensor.cols}], needed [${n}, ${cols}]`);
  }
}

/** How many norms a row takes whose weight has `length` columns: one, or one per head. */
export function requireNorms(cols: number, length: number): number {
  if (!Number.isInteger(cols / length)) throw new Error(`${cols} columns, norms of ${length}`);
  return cols / length;
}

export function requirePositions(cache: KvCache, layer: number, position: number, n: number): void {
  if (layer < 0 || layer >= cache.layers) throw new Error(`layer ${layer} of ${cache.layers}`);
  if (position < 0 || position + n > cache.length) {
    throw new Error(`positions ${position}..${position + n - 1} of ${cache.length}`);
  }
}

export function requireId(id: number, rows: number): void {
  if (Number.isInteger(id) && id >= 0 && id < rows) return;
  throw new Error(`id ${id} is outside 0..${rows - 1}`);
}

export function requireHeads(
  cols: number,
  { kvHeads, headDim }: Pick<KvCache, "kvHeads" | "headDim">,
): void {
  if (Number.isInteger(cols / (headDim * kvHeads))) return;
  throw new Error(`${cols} columns for ${kvHeads} KV heads of ${headDim}`);
}

/** A window as 32 bits hold it; without one, all that there can be. */
export function requireWindow(window: number = Number.POSITIVE_INFINITY): number {
  if (!(window >= 1)) throw new Error(`a window of ${window}`);
  return Math.min(window, 0x7fffffff);
}

/** Rows of all spans. */
export function requireRows(spans: readonly Span[]): number {
  let rows = 0;
  for (const { n } of spans) {
    if (!(n >= 1)) throw new Error(`a span of ${n} rows`);
    rows += n;
  }
  if (rows === 0) throw new Error("no spans");
  return rows;
}

/** A bank's segment has the shape and type of the matrix it lies beside. */
export function requireBeside(segment: Segment, matrix: Matrix): void {
  const { rows, cols, type } = matrix;
  if (segment.rows === rows && segment.cols === cols && segment.type === type) return;
  const found = `segment [${segment.rows}, ${segment.cols}] ${segment.type}`;
  throw new Error(`${found} beside matrix [${rows}, ${cols}] ${type}`);
}
