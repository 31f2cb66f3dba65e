// PEFT's "dare_linear" and "dare_linear_svd" (DARE, arXiv 2311.03099): drop elements at random, rescale the rest, weighted sum.
// merge_utils.py `dare_linear`. Masks: `masks.ts`.
//
//   T = Σ w_i (M_i ⊙ T_i) / density     M_i ~ Bernoulli(density) per element
import { pruneAtRandom, weightedSum } from "./elementwise.ts";
import { createPeftMethods, type PeftMethods } from "./peft.ts";

export const dareLinear: PeftMethods = createPeftMethods(
  "dare_linear",
  (tensors, weights, { options: { density = 1 }, keys, masks }) =>
    weightedSum(
      tensors.map((tensor, i) => pruneAtRandom(tensor, density, keys[i]!, masks)),
      weights,
    ),
  {
    summary: "drop elements at random and rescale, weighted sum",
    options: ["density", "seed", "masks"],
    required: ["density"],
  },
);
