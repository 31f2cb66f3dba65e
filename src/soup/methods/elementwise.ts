// Element-wise steps that several methods share: pruning by magnitude or at random, weighted sums, sign elections. They turn
// row matrices into row matrices and hold none.
import { combineRows, mapRows, type RowMatrix } from "../../math/row-matrix.ts";
import { bitsOf, isAmong, type Largest, selectLargest } from "./largest.ts";
import type { MaskRow, MaskSource } from "./masks.ts";

/** Zeroes what does not take part. Whole rows of a matrix, from row `start`. */
export type ApplyMask = (block: Float32Array, start: number) => void;

/** Which tensor a step works on, for random masks. */
export type TensorKey = Omit<MaskRow, "row">;

/** Keeps the elements for which `isKept` holds. */
export function keepSelected(cols: number, kept: Largest, removed?: Largest): ApplyMask {
  return (block, start) => {
    const bits = bitsOf(block);
    const first = start * cols;
    for (let i = 0; i < block.length; i++) {
      const isIn = isAmong(kept, bits[i]!, first + i);
      if (!isIn || (removed !== undefined && isAmong(removed, bits[i]!, first + i))) block[i] = 0;
    }
  };
}

/** Keeps each element with a probability. `keep` may look at the row's values. */
export function keepAtRandom(
  cols: number,
  key: TensorKey,
  masks: MaskSource,
  keep: (row: Float32Array) => number | Float64Array,
): ApplyMask {
  const mask = new Uint8Array(cols);
  return (block, start) => {
    for (let offset = 0; offset < block.length; offset += cols) {
      const values = block.subarray(offset, offset + cols);
      masks({ ...key, row: start + offset / cols }, keep(values), mask);
      for (let col = 0; col < cols; col++) if (mask[col] === 0) values[col] = 0;
    }
  };
}

/**
 * PEFT's `magnitude_based_pruning`: keeps the ⌊density · n⌋ largest of a tensor's n elements, among equals the first ones
 * (torch leaves open which).
 */
export function pruneSmallest(tensor: RowMatrix, density: number): RowMatrix {
  if (density === 1) return tensor;
  const { rows, cols } = tensor;
  const count = Math.trunc(density * (rows * cols));
  return mapRows(tensor, keepSelected(cols, selectLargest(tensor, count)));
}

/** PEFT's `random_pruning` with `rescale`: keeps each element with probability `density`, and divides it by `density`. */
export function pruneAtRandom(
  tensor: RowMatrix,
  density: number,
  key: TensorKey,
  masks: MaskSource,
): RowMatrix {
  if (density === 1) return tensor;
  const apply = keepAtRandom(tensor.cols, key, masks, () => density);
  return mapRows(tensor, (block, start) => {
    apply(block, start);
    for (let i = 0; i < block.length; i++) block[i] = block[i]! / density;
  });
}

/** PEFT's `task_arithmetic`: Σ w_i T_i, in f64. */
export function weightedSum(tensors: readonly RowMatrix[], weights: readonly number[]): RowMatrix {
  return combineRows(tensors, (parts, block) => {
    for (let j = 0; j < block.length; j++) {
      let sum = 0;
      for (let i = 0; i < parts.length; i++) sum += weights[i]! * parts[i]![j]!;
      block[j] = sum;
    }
  });
}

/**
 * PEFT's `calculate_majority_sign_mask` and `disjoint_merge`: per element, the sign s is + if Σ T_i >= 0 (by `frequency`: if
 * at least as many T_i are positive as negative), else -; the result is Σ w_i T_i over those with sign s, divided by their
 * number. The election is on values before weights.
 */
export function disjointMerge(
  tensors: readonly RowMatrix[],
  weights: readonly number[],
  majoritySign: "total" | "frequency",
): RowMatrix {
  return combineRows(tensors, (parts, block) => {
    for (let j = 0; j < block.length; j++) {
      let ballot = 0;
      for (const part of parts) ballot += majoritySign === "total" ? part[j]! : Math.sign(part[j]!);
      const sign = ballot >= 0 ? 1 : -1;
      let sum = 0;
      let count = 0;
      for (let i = 0; i < parts.length; i++) {
        if (Math.sign(parts[i]![j]!) !== sign) continue;
        sum += weights[i]! * parts[i]![j]!;
        count++;
      }
      block[j] = count === 0 ? 0 : sum / count;
    }
  });
}
