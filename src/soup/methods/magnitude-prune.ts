// PEFT's "magnitude_prune" and "magnitude_prune_svd": a weighted sum of what is left of each tensor after all but its largest
// elements are zeroed. merge_utils.py `magnitude_prune`.
//
//   T = Σ w_i T_i'     T_i' = the ⌊density · n⌋ largest of T_i, 0 elsewhere
import { pruneSmallest, weightedSum } from "./elementwise.ts";
import { createPeftMethods, type PeftMethods } from "./peft.ts";

export const magnitudePrune: PeftMethods = createPeftMethods(
  "magnitude_prune",
  (tensors, weights, { options: { density = 1 } }) =>
    weightedSum(
      tensors.map((tensor) => pruneSmallest(tensor, density)),
      weights,
    ),
  {
    summary: "trim to the largest elements, weighted sum",
    options: ["density"],
    required: ["density"],
  },
);
