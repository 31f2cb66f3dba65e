// Checks of operands that the kernels themselves do not make: a wrong shape is a programming error above, not bad input.
import type { KvCache, Span, Tensor } from "../backend.ts";

export function requireRoom(tensor: Tensor, n: number, cols: number): void {
  if (n > tensor.rows || cols !== tensor.cols) {
    throw new Error(`tensor is [${tensor.rows}, ${tensor.cols}], needed [${n}, ${cols}]`);
  }
}

export function requirePositions(cache: KvCache, layer: number, position: number, n: number): void {
  if (layer < 0 || layer >= cache.layers) throw new Error(`layer ${layer} of ${cache.layers}`);
  if (position < 0 || position + n > cache.length) {
    throw new Error(`positions ${position}..${position + n - 1} of ${cache.length}`);
  }
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

/** A bank's segment has the shape of the matrix it lies beside. */
export function requireBeside(
  segment: { readonly rows: number; readonly cols: number },
  { rows, cols }: { readonly rows: number; readonly cols: number },
): void {
  if (segment.rows !== rows || segment.cols !== cols) {
    throw new Error(`segment [${segment.rows}, ${segment.cols}] beside matrix [${rows}, ${cols}]`);
  }
}
