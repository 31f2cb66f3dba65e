// PEFT's "dare_ties" and "dare_ties_svd" (DARE, arXiv 2311.03099, before the election of TIES): drop elements at random,
// rescale the rest, elect a sign per element, average what agrees. merge_utils.py `dare_ties`. Masks: `masks.ts`.
//
//   T_i' = (M_i ⊙ T_i) / density     M_i ~ Bernoulli(density) per element; then as in `ties.ts`
import { disjointMerge, pruneAtRandom } from "./elementwise.ts";
import { createPeftMethods, type PeftMethods } from "./peft.ts";

export const dareTies: PeftMethods = createPeftMethods(
  "dare_ties",
  (tensors, weights, { options: { density = 1, majoritySign = "total" }, keys, masks }) =>
    disjointMerge(
      tensors.map((tensor, i) => pruneAtRandom(tensor, density, keys[i]!, masks)),
      weights,
      majoritySign,
    ),
  {
    summary: "drop elements at random and rescale, elect signs, average what agrees",
    options: ["density", "majoritySign", "seed", "masks"],
    required: ["density"],
  },
);
