// mergekit's "ties" (TIES-Merging, arXiv 2306.01708): `sparsify.magnitude`, then an election, normalised. The ⌊density · n⌋
// largest of a delta's n elements are kept: the whole delta's statistics, two more readings of it.
import { keepSelected } from "./elementwise.ts";
import { selectLargest } from "./largest.ts";
import { createMergekitMethod, type Sparsifier } from "./mergekit.ts";
import { refuseEmpty } from "./mergekit-check.ts";
import type { MergeMethod } from "./method.ts";

const magnitude: Sparsifier = (delta, { density }, { where }) => {
  if (density === 1) return undefined;
  const count = Math.trunc(density * (delta.rows * delta.cols));
  refuseEmpty(count, density, where);
  return keepSelected(delta.cols, selectLargest(delta, count));
};

export const mergekitTies: MergeMethod = createMergekitMethod({
  name: "ties",
  summary: "trim deltas to the largest elements, elect signs, weighted mean of what agrees",
  sparsify: magnitude,
  options: ["density"],
  electsSigns: true,
  normalize: true,
  rescale: false,
});
