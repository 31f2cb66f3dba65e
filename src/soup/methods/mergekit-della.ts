// mergekit's "della" and "della_linear" (DELLA, arXiv 2406.11617): `sparsify.della_magprune`. As DARE, but within a row the
// probability to be kept grows with the rank of the magnitude, from density - epsilon to density + epsilon:
//
//   p_j = density - epsilon + 2 epsilon · (rank_j - 1) / (cols - 1)     rank 1 = smallest; among equals the first is smaller
//
// Ranks are per row, so only `rescale` needs the whole delta. A delta of one column is kept with probability density
// (mergekit: 0 / 0).
import { keepAtRandom } from "./elementwise.ts";
import { createMergekitMethod, type Sparsifier } from "./mergekit.ts";
import { checkEpsilon } from "./mergekit-check.ts";
import type { MergeMethod } from "./method.ts";

const magprune: Sparsifier = (delta, { density, epsilon }, { key, masks, where }) => {
  if (density === 1) return undefined;
  checkEpsilon(density, epsilon, where);
  const { cols } = delta;
  const order = new Uint32Array(cols);
  const keep = new Float64Array(cols);
  return keepAtRandom(cols, key, masks, (row) => {
    for (let col = 0; col < cols; col++) order[col] = col;
    order.sort((i, j) => Math.abs(row[i]!) - Math.abs(row[j]!) || i - j);
    for (let place = 0; place < cols; place++) {
      const part = cols === 1 ? 0.5 : place / (cols - 1);
      keep[order[place]!] = density - epsilon + part * 2 * epsilon;
    }
    return keep;
  });
};

const shared = {
  sparsify: magprune,
  options: ["density", "epsilon", "seed", "masks"],
  rescale: true,
} as const;

export const mergekitDella: MergeMethod = createMergekitMethod({
  ...shared,
  name: "della",
  summary: "drop small elements of deltas more often, elect signs, weighted mean of what agrees",
  electsSigns: true,
  normalize: true,
});

export const mergekitDellaLinear: MergeMethod = createMergekitMethod({
  ...shared,
  name: "della_linear",
  summary: "drop small elements of deltas more often, weighted sum",
  electsSigns: false,
  normalize: false,
});
