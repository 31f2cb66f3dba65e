// PEFT's "linear": the sums of the A's and of the B's, each adapter's weight · scaling as a square root on either side.
// merge_utils.py `task_arithmetic`, applied as in `mergeFactors`.
//
//   u_i = w_i s_i     A = Σ sign(u_i) √|u_i| A_i     B = Σ √|u_i| B_i
//
// B A holds Σ u_i B_i A_i and cross terms √|u_i u_j| B_i A_j that no adapter was trained for.
import type { MergeMethod } from "./method.ts";
import { mergeFactors, sumOperator } from "./peft.ts";

export const linear: MergeMethod = {
  name: "linear",
  convention: "peft",
  summary: "weighted sum, on A and B apart (with cross terms)",
  result: "low-rank",
  options: ["compat"],
  required: [],
  needsEqualRanks: true,
  ignoresWeights: false,
  merge: (input, options) => mergeFactors(sumOperator, input, options),
};
