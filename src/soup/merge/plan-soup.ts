// A merge of loaded adapters whose weights are written as a soup's are: a number each, or numbers per layer or linear layer.
import type { LoadedAdapters } from "../loaded-adapters.ts";
import type { MergeOptions } from "../methods/method.ts";
import { Soup } from "../soup.ts";
import type { SoupWeights } from "../weights.ts";
import { type MergePlan, type MergeSource, planMerge } from "./plan.ts";

/** A merge method, its weights, and its options: `{ method: "ties", weights: { a: 1, b: 1 }, density: 0.5 }`. */
export interface MergeSpec extends MergeOptions {
  /** A name of `MERGE_METHODS`, e.g. `ties` (PEFT's) or `mergekit:ties`. */
  readonly method: string;
  /** Adapters that take part, by name; merged in load order. */
  readonly weights: SoupWeights | Soup;
}

/** @throws TureenError `OPTION_INVALID`, `SOUP_INVALID`, `ADAPTER_NOT_FOUND`, `ADAPTER_MISMATCH` */
export function planSoupMerge(adapters: LoadedAdapters, spec: MergeSpec): MergePlan {
  const { method, weights, ...options } = spec;
  const soup = weights instanceof Soup ? weights : new Soup(adapters, weights);
  const sources = soup.parts.map(({ loaded, weights }): MergeSource => {
    const places = new Map(loaded.modules.map(({ linear }, j) => [linear.path, j]));
    const { name, adapter } = loaded;
    return { name, adapter, parameters: ({ path }) => ({ weight: weights[places.get(path)!]! }) };
  });
  return planMerge({ method, sources, linears: adapters.linears.values(), options });
}
