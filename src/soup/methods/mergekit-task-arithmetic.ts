// mergekit's "task_arithmetic" (arXiv 2212.04089): ΔW = lambda · Σ w_i s_i B_i A_i, divided by Σ w_i with `normalize`. With the
// default options the same as `cat`; low-rank, so nothing dense is formed.
import { concatenate, truncateSum } from "./factors.ts";
import type { MergeMethod } from "./method.ts";

export const mergekitTaskArithmetic: MergeMethod = {
  name: "mergekit:task_arithmetic",
  convention: "mergekit",
  summary: "weighted sum of the deltas",
  result: "low-rank",
  options: ["normalize", "lambda", "svdRank"],
  required: [],
  needsEqualRanks: false,
  ignoresWeights: false,
  merge(input, { normalize = false, lambda = 1, svdRank }) {
    const sum = input.factors.reduce((total, { weight }) => total + weight, 0);
    const divisor = normalize && Math.abs(sum) >= 1e-8 ? sum : 1;
    const multipliers = input.factors.map(
      ({ weight, scaling }) => (lambda * weight * scaling) / divisor,
    );
    if (svdRank === undefined) return concatenate(input, multipliers);
    return truncateSum(input, multipliers, svdRank);
  },
};
