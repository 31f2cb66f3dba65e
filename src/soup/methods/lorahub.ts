// LoRAHub's composition (arXiv 2307.13269, equation 2; `get_final_weights` in sail-sg/lorahub): one weight per adapter on both
// factors, so that the product has cross terms w_i w_j B_i A_j. `lorahub-search.ts` finds the weights.
//
//   ΔW = (Σ w_i √s_i B_i) (Σ w_i √s_i A_i)
//
// LoRAHub's adapters all have one scaling s, which its formula leaves outside: s (Σ w_i B_i) (Σ w_i A_i), the same thing.
import { readRows, storedRows } from "../../math/row-matrix.ts";
import { weightedSum } from "./elementwise.ts";
import type { MergeMethod } from "./method.ts";

export const lorahub: MergeMethod = {
  name: "lorahub",
  convention: "paper",
  summary: "weighted sums of the A's and of the B's by weights found without gradients",
  result: "low-rank",
  options: [],
  required: [],
  needsEqualRanks: true,
  ignoresWeights: false,
  merge({ rows, cols, factors }) {
    const rank = factors[0]!.rank;
    const multipliers = factors.map(({ weight, scaling }) => weight * Math.sqrt(Math.abs(scaling)));
    const a = weightedSum(
      factors.map((factor) => storedRows(factor.a, rank, cols)),
      multipliers,
    );
    const b = weightedSum(
      factors.map((factor) => storedRows(factor.b, rows, rank)),
      multipliers.map((m, i) => (factors[i]!.scaling < 0 ? -m : m)),
    );
    return { kind: "low-rank", rank, a: readRows(a), b: readRows(b), relativeError: 0 };
  },
};
