// From raw parameters to a soup's weights, and from gradients of the weights back to gradients of the parameters. All in
// f64 with exact operations and `exp` of math/exp.ts, so that the same gradients give the same weights on every host.
import { exp } from "../math/exp.ts";
import type { LinearInfo } from "../model/config.ts";

/**
 * How K adapters' weights follow from raw parameters x. Where a group has fewer adapters, K counts those.
 * - `softmax`: softmax(x), summing to 1, as in the released code of LoRA Soups (arXiv 2410.13025). Starts at 1/K.
 * - `softmax-k`: K softmax(x), summing to the number of adapters. Starts at 1, the uniform soup.
 * - `free`: x itself, unconstrained, as in the paper's formula. Starts at 1.
 */
export type Parametrization = "softmax" | "softmax-k" | "free";

/** What has its own weights: every linear layer, every decoder layer, every kind of linear layer (`q_proj`), or the model. */
export type Granularity = "linear" | "layer" | "module-type" | "global";

export const PARAMETRIZATIONS: readonly Parametrization[] = ["softmax", "softmax-k", "free"];
export const GRANULARITIES: readonly Granularity[] = ["linear", "layer", "module-type", "global"];

/** One adapter's share in one linear layer. */
export interface Slot {
  readonly linear: LinearInfo;
  /** Which adapter, by number. */
  readonly adapter: number;
  /** The adapter's own factor: m = weight × scaling. */
  readonly scaling: number;
}

export class SoupParameters {
  readonly slots: readonly Slot[];
  readonly parametrization: Parametrization;
  /** Raw parameters; to be changed by an optimizer. Begin at the uniform soup. */
  readonly values: Float64Array;
  /** Of each slot, its place in `values`. */
  readonly #places: readonly number[];
  /** Places that share one softmax. */
  readonly #groups: readonly (readonly number[])[];

  constructor(slots: readonly Slot[], parametrization: Parametrization, granularity: Granularity) {
    this.slots = slots;
    this.parametrization = parametrization;
    const groups = new Map<string, Map<number, number>>();
    let count = 0;
    this.#places = slots.map(({ linear, adapter }) => {
      const key = groupOf(linear, granularity);
      let group = groups.get(key);
      if (group === undefined) {
        group = new Map();
        groups.set(key, group);
      }
      let place = group.get(adapter);
      if (place === undefined) {
        place = count++;
        group.set(adapter, place);
      }
      return place;
    });
    this.#groups = [...groups.values()].map((group) => [...group.values()]);
    this.values = new Float64Array(count).fill(parametrization === "free" ? 1 : 0);
  }

  /** Whether any weight can change: a softmax over a single adapter cannot. */
  get canChange(): boolean {
    return this.parametrization === "free" || this.#groups.some(({ length }) => length > 1);
  }

  /** Weight of every slot, without scaling. */
  weights(): Float64Array {
    const byPlace = this.#weightsByPlace();
    return Float64Array.from(this.#places, (place) => byPlace[place]!);
  }

  /**
   * dLoss / dvalues.
   * @param dM dLoss / dm of every slot
   */
  gradient(dM: ArrayLike<number>): Float64Array {
    const dWeights = new Float64Array(this.values.length);
    this.#places.forEach((place, slot) => {
      dWeights[place]! += dM[slot]! * this.slots[slot]!.scaling;
    });
    if (this.parametrization === "free") return dWeights;
    // w = c p, p = softmax(x): dx_j = w_j dw_j - p_j Σ_i w_i dw_i
    const weights = this.#weightsByPlace();
    const dValues = new Float64Array(this.values.length);
    for (const group of this.#groups) {
      const total = this.#total(group);
      let mean = 0;
      for (const place of group) mean += weights[place]! * dWeights[place]!;
      for (const place of group) {
        dValues[place] = weights[place]! * dWeights[place]! - (weights[place]! / total) * mean;
      }
    }
    return dValues;
  }

  #weightsByPlace(): Float64Array {
    const { values } = this;
    if (this.parametrization === "free") return values;
    const weights = new Float64Array(values.length);
    for (const group of this.#groups) {
      let max = Number.NEGATIVE_INFINITY;
      for (const place of group) max = Math.max(max, values[place]!);
      let sum = 0;
      for (const place of group) {
        weights[place] = exp(values[place]! - max);
        sum += weights[place]!;
      }
      const total = this.#total(group);
      for (const place of group) weights[place] = (total * weights[place]!) / sum;
    }
    return weights;
  }

  /** What a group's weights sum to. */
  #total(group: readonly number[]): number {
    return this.parametrization === "softmax" ? 1 : group.length;
  }
}

function groupOf({ path, layer, name }: LinearInfo, granularity: Granularity): string {
  switch (granularity) {
    case "linear":
      return path;
    case "layer":
      return String(layer);
    case "module-type":
      return name;
    case "global":
      return "";
    default:
      return granularity satisfies never;
  }
}
