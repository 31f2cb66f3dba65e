// The "linear" baseline of LoRA Soups (arXiv 2410.13025, section 3): the weights on one side only, so that cross terms are
// weighted by w_i alone.
//
//   ΔW = (Σ w_i s_i B_i) (Σ A_i)
import { readRows, storedRows } from "../../math/row-matrix.ts";
import { weightedSum } from "./elementwise.ts";
import type { MergeMethod } from "./method.ts";

export const paperLinear: MergeMethod = {
  name: "paper:linear",
  convention: "paper",
  summary: "weighted sum of the B's times the plain sum of the A's (with cross terms)",
  result: "low-rank",
  options: [],
  required: [],
  needsEqualRanks: true,
  ignoresWeights: false,
  merge({ rows, cols, factors }) {
    const rank = factors[0]!.rank;
    const a = weightedSum(
      factors.map((factor) => storedRows(factor.a, rank, cols)),
      factors.map(() => 1),
    );
    const b = weightedSum(
      factors.map((factor) => storedRows(factor.b, rows, rank)),
      factors.map(({ weight, scaling }) => weight * scaling),
    );
    return { kind: "low-rank", rank, a: readRows(a), b: readRows(b), relativeError: 0 };
  },
};
