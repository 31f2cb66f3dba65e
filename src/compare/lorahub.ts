// LoRAHub on a loaded model: one weight per adapter, found by evaluating merges on a few examples of the target task.
import type { Model } from "../api/model.ts";
import { type LorahubEvaluation, searchLorahub } from "../soup/methods/lorahub-search.ts";
import { meanLoss, type Task } from "./evaluate.ts";

export interface FindLorahubOptions {
  /** Names of loaded adapters, all of one rank. */
  readonly adapters: readonly string[];
  /** A few examples, from `readTask`. */
  readonly task: Task;
  /** Default 40. */
  readonly evaluations?: number | undefined;
  /** Default 0. */
  readonly seed?: number | undefined;
  readonly onEvaluation?: ((evaluation: LorahubEvaluation) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Searches weights for `model.merge({ method: "lorahub", weights })`. Every evaluation merges, measures the mean loss per token
 * and unloads again.
 * @throws TureenError `ADAPTER_NOT_FOUND`, `ADAPTER_MISMATCH` (ranks), `OPTION_INVALID`, `ABORTED`, and what evaluating throws
 */
export async function findLorahubWeights(
  model: Model,
  { adapters, task, evaluations, seed, onEvaluation, signal }: FindLorahubOptions,
): Promise<LorahubEvaluation & { readonly byName: Readonly<Record<string, number>> }> {
  const name = freeName(model, "lorahub candidate");
  const toWeights = (weights: readonly number[]): Record<string, number> =>
    Object.fromEntries(adapters.map((adapter, i) => [adapter, weights[i]!]));
  const loss = async (values: readonly number[]): Promise<number> => {
    if (values.every((value) => value === 0)) return meanLoss(model, task, { signal });
    await model.merge({ method: "lorahub", weights: toWeights(values) }, { name });
    try {
      return await meanLoss(model, task, { soup: { [name]: 1 }, signal });
    } finally {
      await model.unloadAdapter(name);
    }
  };
  const best = await searchLorahub({
    adapters: adapters.length,
    loss,
    ...(evaluations === undefined ? {} : { evaluations }),
    ...(seed === undefined ? {} : { seed }),
    ...(onEvaluation === undefined ? {} : { onEvaluation }),
    ...(signal === undefined ? {} : { signal }),
  });
  return { ...best, byName: toWeights(best.weights) };
}

/** A name that no loaded adapter has. */
export function freeName(model: Model, wanted: string): string {
  const taken = new Set(model.adapters.map(({ name }) => name));
  let name = wanted;
  for (let i = 2; taken.has(name); i++) name = `${wanted} ${i}`;
  return name;
}
