// PEFT's "ties" and "ties_svd" (TIES-Merging, arXiv 2306.01708): trim each tensor to its largest elements, elect a sign per
// element, average what agrees. merge_utils.py `ties`.
//
//   T_i' = the ⌊density · n⌋ largest of T_i, 0 elsewhere
//   s    = sign(Σ T_i') ("total") or sign(Σ sign T_i') ("frequency"), + for 0
//   T    = Σ {w_i T_i' : sign T_i' = s} / their number
//
// The election is on values before weights, and the divisor counts adapters: with every w_i = 1 the result is a mean, not a
// sum. mergekit's `ties` weighs first and divides by weights.
import { disjointMerge, pruneSmallest } from "./elementwise.ts";
import { createPeftMethods, type PeftMethods } from "./peft.ts";

export const ties: PeftMethods = createPeftMethods(
  "ties",
  (tensors, weights, { options: { density = 1, majoritySign = "total" } }) =>
    disjointMerge(
      tensors.map((tensor) => pruneSmallest(tensor, density)),
      weights,
      majoritySign,
    ),
  {
    summary: "trim to the largest elements, elect signs, average what agrees",
    options: ["density", "majoritySign"],
    required: ["density"],
  },
);
