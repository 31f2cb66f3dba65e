// CAT, exactly: ΔW = Σ w_i s_i B_i A_i, of rank Σ r_i.
// LoRA Soups (arXiv 2410.13025) section 3, with static weights; PEFT `add_weighted_adapter`, combination_type "cat".
import { concatenate } from "./factors.ts";
import type { MergeMethod } from "./method.ts";

/** A = [w_1 s_1 A_1; w_2 s_2 A_2; …], B = [B_1 B_2 …]. Any ranks. */
export const cat: MergeMethod = {
  name: "cat",
  convention: "tureen",
  summary: "the adapters side by side: the exact weighted sum of their deltas",
  result: "low-rank",
  options: ["compat"],
  required: [],
  needsEqualRanks: false,
  ignoresWeights: false,
  merge(input) {
    return concatenate(
      input,
      input.factors.map(({ weight, scaling }) => weight * scaling),
    );
  },
};
