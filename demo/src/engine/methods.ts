// Ways to blend that a visitor can try. CAT is a live soup; every other method is computed, here in the page, into one new
// adapter.
import type { MergeSpec } from "tureen";

export interface Preset {
  readonly id: string;
  readonly label: string;
  /** What it does, in a sentence. */
  readonly says: string;
  /** For merged ones: everything but the weights. */
  readonly merge?: Omit<MergeSpec, "weights">;
}

/** Share of elements kept, as in the kitchen's comparison. */
const DENSITY = 0.75;

export const PRESETS: readonly Preset[] = [
  {
    id: "uniform",
    label: "CAT, uniform",
    says: "Both adapters side by side at full strength. Nothing is computed: these are live weights.",
  },
  {
    id: "learned",
    label: "CAT, learned",
    says: "One weight per adapter and linear layer, learned from examples of each skill alone.",
  },
  {
    id: "linear",
    label: "Linear",
    says: "Adds the factors A and B of both adapters, which also multiplies them crosswise.",
    merge: { method: "linear" },
  },
  {
    id: "svd",
    label: "SVD",
    says: "Adds the products B·A and keeps the strongest eight directions.",
    merge: { method: "svd" },
  },
  {
    id: "ties",
    label: "TIES",
    says: "Keeps the larger three quarters of each adapter, then only values of the elected sign.",
    merge: { method: "ties", density: DENSITY },
  },
  {
    id: "ties_svd",
    label: "TIES on B·A",
    says: "TIES on the products instead of the factors, then the strongest eight directions.",
    merge: { method: "ties_svd", density: DENSITY },
  },
  {
    id: "dare_linear",
    label: "DARE",
    says: "Drops a quarter of the values by chance and scales up the rest, then adds.",
    merge: { method: "dare_linear", density: DENSITY, seed: 0 },
  },
  {
    id: "dare_ties",
    label: "DARE-TIES",
    says: "Drops by chance as DARE does, then elects signs as TIES does.",
    merge: { method: "dare_ties", density: DENSITY, seed: 0 },
  },
  {
    id: "magnitude_prune",
    label: "Magnitude",
    says: "Keeps the larger three quarters of each adapter, then adds.",
    merge: { method: "magnitude_prune", density: DENSITY },
  },
];

export function findPreset(id: string): Preset | undefined {
  return PRESETS.find((preset) => preset.id === id);
}
