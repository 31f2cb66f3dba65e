// mergekit's "sce" (FuseChat 3.0 / SCE, arXiv 2408.07990; mergekit/merge_methods/sce.py): select positions of high variance,
// calculate one coefficient per delta, erase minority signs. It weighs by itself: weights are 1 or 0.
//
//   δ_i = s_i B_i A_i, zeroed outside the ⌊selectTopk · n⌋ positions of largest variance over the adapters, n being the number
//         of positions whose variance is not 0
//   c_i = Σ δ_i² / Σ_j Σ δ_j² (1 / adapters if all are 0)
//   s   = sign(Σ δ_i), + for 0
//   ΔW  = Σ {c_i δ_i : sign δ_i = s} / Σ {c_i : sign δ_i = s}
//
// Needs statistics of the whole deltas: they are read up to five times. A layer that one adapter has is not selected from:
// its variance is 0 everywhere, and mergekit would drop it.
import { combineRows, forEachBlock, mapRows, type RowMatrix } from "../../math/row-matrix.ts";
import { deltaRows } from "./factors.ts";
import { bitsOf, isAmong, selectLargest } from "./largest.ts";
import { toResult } from "./mergekit.ts";
import type { MergeMethod } from "./method.ts";

export const mergekitSce: MergeMethod = {
  name: "mergekit:sce",
  convention: "mergekit",
  summary: "keep positions of high variance, weigh deltas by their energy, drop minority signs",
  result: "dense",
  options: ["selectTopk", "svdRank"],
  required: [],
  needsEqualRanks: false,
  ignoresWeights: true,
  merge(input, { selectTopk = 1, svdRank }) {
    const deltas = input.factors.map((factor) => deltaRows(input, factor));
    const selected = deltas.length > 1 && selectTopk < 1 ? select(deltas, selectTopk) : deltas;
    return toResult(eraseMinorities(selected, coefficients(selected)), svdRank, input.path);
  },
};

/** `get_sce_mask` */
function select(deltas: readonly RowMatrix[], topk: number): RowMatrix[] {
  const variances = varianceRows(deltas);
  let nonZero = 0;
  forEachBlock(variances, (block) => {
    for (const value of block) if (value !== 0) nonZero++;
  });
  const largest = selectLargest(variances, Math.trunc(topk * nonZero));
  const { cols } = variances;
  return deltas.map((delta) => {
    let buffer = new Float32Array(0);
    return mapRows(delta, (block, start, count) => {
      if (buffer.length < block.length) buffer = new Float32Array(block.length);
      variances.read(start, count, buffer);
      const bits = bitsOf(buffer);
      for (let i = 0; i < block.length; i++) {
        if (!isAmong(largest, bits[i]!, start * cols + i)) block[i] = 0;
      }
    });
  });
}

/** Population variance over the deltas, per position. */
function varianceRows(deltas: readonly RowMatrix[]): RowMatrix {
  return combineRows(deltas, (parts, block) => {
    for (let j = 0; j < block.length; j++) {
      let mean = 0;
      for (const part of parts) mean += part[j]!;
      mean /= parts.length;
      let variance = 0;
      for (const part of parts) variance += (part[j]! - mean) * (part[j]! - mean);
      block[j] = variance / parts.length;
    }
  });
}

/** `get_sce_weight` */
function coefficients(deltas: readonly RowMatrix[]): number[] {
  const energies = deltas.map((delta) => {
    let sum = 0;
    forEachBlock(delta, (block) => {
      for (const value of block) sum += value * value;
    });
    return sum;
  });
  const total = energies.reduce((sum, energy) => sum + energy, 0);
  return energies.map((energy) => (total === 0 ? 1 / deltas.length : energy / total));
}

/** `get_erase_mask` and the weighted mean: the election is on values without their coefficients. */
function eraseMinorities(deltas: readonly RowMatrix[], weights: readonly number[]): RowMatrix {
  return combineRows(deltas, (parts, block) => {
    for (let j = 0; j < block.length; j++) {
      let ballot = 0;
      for (const part of parts) ballot += part[j]!;
      const sign = ballot >= 0 ? 1 : -1;
      let sum = 0;
      let divisor = 0;
      for (let i = 0; i < parts.length; i++) {
        if (Math.sign(parts[i]![j]!) !== sign) continue;
        sum += weights[i]! * parts[i]![j]!;
        divisor += weights[i]!;
      }
      block[j] = divisor === 0 ? 0 : sum / divisor;
    }
  });
}
