// mergekit's "breadcrumbs" and "breadcrumbs_ties" (Model Breadcrumbs, arXiv 2312.06795): `sparsify.magnitude_outliers`. Of n
// elements the ⌊gamma · n⌋ largest are removed, and of the rest the smallest, until ⌊density · n⌋ are left; fewer large ones if
// there are not so many to remove. The whole delta's statistics: up to four more readings of it.
//
// Where ⌊gamma · n⌋ is 0 mergekit's slice `[n_bot:-0]` is empty and keeps nothing; here nothing large is removed then.
import { keepSelected } from "./elementwise.ts";
import { selectLargest } from "./largest.ts";
import { createMergekitMethod, type Sparsifier } from "./mergekit.ts";
import { refuseEmpty } from "./mergekit-check.ts";
import type { MergeMethod } from "./method.ts";

const outliers: Sparsifier = (delta, { density, gamma }, { where }) => {
  if (density === 1) return undefined;
  const size = delta.rows * delta.cols;
  const count = Math.trunc(density * size);
  refuseEmpty(count, density, where);
  const large = Math.min(Math.trunc(gamma * size), size - count);
  return keepSelected(delta.cols, selectLargest(delta, large + count), selectLargest(delta, large));
};

const shared = {
  sparsify: outliers,
  options: ["density", "gamma"],
  normalize: false,
  rescale: false,
} as const;

export const mergekitBreadcrumbs: MergeMethod = createMergekitMethod({
  ...shared,
  name: "breadcrumbs",
  summary: "remove the largest and the smallest elements of deltas, weighted sum",
  electsSigns: false,
});

export const mergekitBreadcrumbsTies: MergeMethod = createMergekitMethod({
  ...shared,
  name: "breadcrumbs_ties",
  summary: "remove the largest and the smallest elements of deltas, elect signs, sum what agrees",
  electsSigns: true,
});
