// From an adapter's factors to matrices and back: products B A as row matrices, truncation of sums and of dense deltas to a
// rank, and the form that a merged layer leaves in.
import { mapRows, productRows, type RowMatrix } from "../../math/row-matrix.ts";
import { factoredSvd, rowsSvd, type TruncatedSvd } from "../../math/svd.ts";
import type { AdapterFactors, LowRankModule, MergedModule, MergeInput } from "./method.ts";
import { refuseOverflow } from "./overflow.ts";

/** scaling · B A [rows, cols]: PEFT's `get_delta_weight`, and mergekit's task vector of "base + adapter" without its rounding. */
export function deltaRows(
  { rows, cols }: MergeInput,
  { a, b, scaling }: AdapterFactors,
): RowMatrix {
  return productRows(b, a, { rows, cols, scale: scaling });
}

/** Σ weights_i scaling_i B_i A_i, exactly, by putting the factors side by side (the multiplier on A, as PEFT does). */
export function concatenate(
  { rows, cols, factors }: MergeInput,
  multipliers: readonly number[],
): LowRankModule {
  const rank = factors.reduce((sum, factor) => sum + factor.rank, 0);
  const a = new Float32Array(rank * cols);
  const b = new Float32Array(rows * rank);
  let start = 0;
  factors.forEach((factor, i) => {
    const m = multipliers[i]!;
    for (let j = 0; j < factor.a.length; j++) a[start * cols + j] = m * factor.a[j]!;
    for (let row = 0; row < rows; row++) {
      const values = factor.b.subarray(row * factor.rank, (row + 1) * factor.rank);
      b.set(values, row * rank + start);
    }
    start += factor.rank;
  });
  return { kind: "low-rank", rank, a, b, relativeError: 0 };
}

/**
 * SVD of Σ multipliers_i B_i A_i to a rank, without forming it.
 * @throws TureenError `SOUP_INVALID` if it leaves f32
 */
export function truncateSum(
  { path, rows, cols, factors }: MergeInput,
  multipliers: readonly number[],
  rank: number,
  clamp?: number,
): LowRankModule {
  const b: Float64Array[] = [];
  const a: Float64Array[] = [];
  factors.forEach((factor, i) => {
    for (let k = 0; k < factor.rank; k++) {
      const column = new Float32Array(rows);
      for (let row = 0; row < rows; row++) {
        column[row] = multipliers[i]! * factor.b[row * factor.rank + k]!;
      }
      refuseOverflow(column, path);
      b.push(Float64Array.from(column));
      a.push(Float64Array.from(factor.a.subarray(k * cols, (k + 1) * cols)));
    }
  });
  return fromSvd(factoredSvd(b, a, rank), rows, cols, clamp);
}

/**
 * SVD of a delta that is read by rows, to a rank. Reads it four times.
 * @throws TureenError `SOUP_INVALID` if it leaves f32
 */
export function truncateRows(
  delta: RowMatrix,
  rank: number,
  { path, clamp }: { readonly path: string; readonly clamp?: number | undefined },
): LowRankModule {
  const finite = mapRows(delta, (block) => refuseOverflow(block, path));
  return fromSvd(rowsSvd(finite, rank), delta.rows, delta.cols, clamp);
}

/** PEFT's `_svd_generalized_task_arithmetic_weighted_adapter`: B = U diag(s), A = Vᵀ, clamped. */
function fromSvd(
  { u, s, v, relativeError }: TruncatedSvd,
  rows: number,
  cols: number,
  clamp: number | undefined,
): LowRankModule {
  const rank = s.length;
  const a = new Float32Array(rank * cols);
  const b = new Float32Array(rows * rank);
  for (let k = 0; k < rank; k++) {
    a.set(v[k]!, k * cols);
    for (let row = 0; row < rows; row++) b[row * rank + k] = u[k]![row]! * s[k]!;
  }
  if (clamp !== undefined) clampToQuantile([a, b], clamp);
  return { kind: "low-rank", rank, a, b, relativeError };
}

/**
 * Clamps all elements to ±h, h being the quantile of the signed elements of both factors, linearly interpolated
 * (`torch.quantile`). PEFT's result depends on the signs that its SVD happens to choose; ours are fixed (`TruncatedSvd`).
 */
function clampToQuantile(factors: readonly Float32Array[], quantile: number): void {
  const sorted = new Float32Array(factors.reduce((sum, { length }) => sum + length, 0));
  let start = 0;
  for (const factor of factors) {
    sorted.set(factor, start);
    start += factor.length;
  }
  sorted.sort();
  const place = quantile * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  const limit = Math.max(0, below + (place - Math.floor(place)) * (above - below));
  for (const factor of factors) {
    for (let i = 0; i < factor.length; i++) {
      factor[i] = Math.min(limit, Math.max(-limit, factor[i]!));
    }
  }
}

/** A merged layer's ΔW by rows, whichever form it has. */
export function mergedRows(merged: MergedModule, rows: number, cols: number): RowMatrix {
  if (merged.kind === "dense") return merged.delta;
  return productRows(merged.b, merged.a, { rows, cols, scale: 1 });
}
