// PEFT's "svd": the exact weighted sum Σ w_i s_i B_i A_i, cut to a rank by its singular value decomposition.
// merge_utils.py `task_arithmetic` on deltas, then torch.linalg.svd; here by QR of the factors, so that no [out, in] matrix is
// formed. Exact if `svdRank` is at least Σ r_i.
//
// PEFT up to 0.20.x multiplied by the scaling twice (`get_delta_weight` contains it): `compat: "peft-0.20"`.
import { truncateSum } from "./factors.ts";
import type { MergeMethod } from "./method.ts";
import { deltaWeights, isSingle, mergeSingle, resultRank } from "./peft.ts";

export const svd: MergeMethod = {
  name: "svd",
  convention: "peft",
  summary: "weighted sum of the products B A, cut to a rank by an SVD",
  result: "low-rank",
  options: ["svdRank", "svdClamp", "compat"],
  required: [],
  needsEqualRanks: false,
  ignoresWeights: false,
  merge(input, options) {
    if (isSingle(input)) return mergeSingle(input, options);
    const weights = deltaWeights(input, options);
    const multipliers = input.factors.map(({ scaling }, i) => weights[i]! * scaling);
    return truncateSum(input, multipliers, resultRank(input, options), options.svdClamp);
  },
};
