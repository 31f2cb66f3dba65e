// Small merges for the tests of this folder, and dense values of what comes out.
import { readRows } from "../../src/math/row-matrix.ts";
import { mergedRows } from "../../src/soup/methods/factors.ts";
import type {
  AdapterFactors,
  MergedModule,
  MergeInput,
  MergeOptions,
} from "../../src/soup/methods/method.ts";
import { mergeModule } from "../../src/soup/methods/methods.ts";
import { randomValues } from "../support/values.ts";

export const PATH = "model.layers.0.self_attn.q_proj";

/** Adapters of random factors. */
export function randomInput(
  rows: number,
  cols: number,
  adapters: readonly { rank: number; scaling?: number; weight?: number }[],
  seed = 1,
): MergeInput {
  const factors = adapters.map(({ rank, scaling = 1, weight = 1 }, i): AdapterFactors => {
    const a = randomValues(rank * cols, 1000 * seed + 2 * i);
    const b = randomValues(rows * rank, 1000 * seed + 2 * i + 1);
    return { name: `adapter ${i}`, a, b, rank, scaling, weight };
  });
  return { path: PATH, rows, cols, factors };
}

export function withWeights(input: MergeInput, weights: readonly number[]): MergeInput {
  const factors = input.factors.map((factor, i) => ({ ...factor, weight: weights[i]! }));
  return { ...input, factors };
}

/** ΔW [rows, cols] of a merge. */
export function mergeDense(
  method: string,
  input: MergeInput,
  options?: MergeOptions,
): Float32Array {
  return toDense(mergeModule(method, input, options), input);
}

export function toDense(merged: MergedModule, { rows, cols }: MergeInput): Float32Array {
  return readRows(mergedRows(merged, rows, cols));
}

export function lowRank(
  method: string,
  input: MergeInput,
  options?: MergeOptions,
): Extract<MergedModule, { kind: "low-rank" }> {
  const merged = mergeModule(method, input, options);
  if (merged.kind !== "low-rank") throw new Error(`${method} gave a dense delta`);
  return merged;
}

/** Σ weight scaling B A in f64, and the same of absolute values: the scale of rounding errors. */
export function denseSum({ rows, cols, factors }: MergeInput): {
  sum: Float64Array;
  magnitude: number;
} {
  const sum = new Float64Array(rows * cols);
  const sizes = new Float64Array(rows * cols);
  for (const { a, b, rank, scaling, weight } of factors) {
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        for (let k = 0; k < rank; k++) {
          const term = weight * scaling * b[row * rank + k]! * a[k * cols + col]!;
          sum[row * cols + col]! += term;
          sizes[row * cols + col]! += Math.abs(term);
        }
      }
    }
  }
  return { sum, magnitude: sizes.reduce((max, size) => Math.max(max, size), 0) };
}
