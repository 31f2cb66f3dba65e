// mergekit's "dare_linear" and "dare_ties" (DARE, arXiv 2311.03099): `sparsify.bernoulli`, without and with an election, not
// normalised. What is left is rescaled to the delta's L1 norm (`rescale`), not divided by the density: one more reading.
import { keepAtRandom } from "./elementwise.ts";
import { createMergekitMethod, type Sparsifier } from "./mergekit.ts";
import type { MergeMethod } from "./method.ts";

const bernoulli: Sparsifier = (delta, { density }, { key, masks }) =>
  density === 1 ? undefined : keepAtRandom(delta.cols, key, masks, () => density);

const shared = {
  sparsify: bernoulli,
  options: ["density", "seed", "masks"],
  normalize: false,
  rescale: true,
} as const;

export const mergekitDareLinear: MergeMethod = createMergekitMethod({
  ...shared,
  name: "dare_linear",
  summary: "drop elements of deltas at random and rescale, weighted sum",
  electsSigns: false,
});

export const mergekitDareTies: MergeMethod = createMergekitMethod({
  ...shared,
  name: "dare_ties",
  summary: "drop elements of deltas at random and rescale, elect signs, sum what agrees",
  electsSigns: true,
});
