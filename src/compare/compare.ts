// Several blends on the same tasks, one after another. Knows how each kind of blend is made from loaded adapters and unmade
// again; measuring is evaluate.ts's.
import type { Model } from "../api/model.ts";
import type { LearnSoupOptions } from "../learn/learn-soup.ts";
import type { MergeOptions } from "../soup/methods/method.ts";
import type { Soup } from "../soup/soup.ts";
import type { SoupWeights } from "../soup/weights.ts";
import { type EvaluateOptions, type Evaluation, evaluate, type Task } from "./evaluate.ts";
import { findLorahubWeights, freeName } from "./lorahub.ts";

/** A way to blend. */
export type Contender = { readonly name: string } & (
  | { readonly kind: "base" }
  | { readonly kind: "soup"; readonly weights: SoupWeights }
  | {
      /** A `soup.json`'s content. */
      readonly kind: "recipe";
      readonly recipe: unknown;
    }
  | {
      readonly kind: "merge";
      readonly method: string;
      readonly weights: SoupWeights;
      readonly options: MergeOptions;
    }
  | {
      readonly kind: "lorahub";
      readonly adapters: readonly string[];
      /** Examples to find the weights with. */
      readonly task: Task;
      readonly seed?: number | undefined;
    }
  | { readonly kind: "learned"; readonly options: LearnSoupOptions }
);

/** One blend's results. */
export interface Comparison {
  readonly name: string;
  /** The soup's, or the merge's, weights; none for the base. */
  readonly weights: SoupWeights | undefined;
  /** What truncation to a rank lost; 0 where nothing was truncated. */
  readonly relativeError: number;
  /** Time to merge, search or learn. */
  readonly preparationMs: number;
  /** One per task, in their order. */
  readonly evaluations: readonly Evaluation[];
}

export interface CompareOptions extends Omit<EvaluateOptions, "soup" | "onProgress"> {
  /** Examples so far and in all, over all contenders, and whose turn it is. */
  readonly onProgress?: ((done: number, total: number, name: string) => void) | undefined;
}

/**
 * Evaluates contenders in turn. Merged adapters are unloaded again; the model is left as it was.
 * @throws TureenError what making a blend and evaluating it throw
 */
export async function compare(
  model: Model,
  contenders: readonly Contender[],
  tasks: readonly Task[],
  { onProgress, ...options }: CompareOptions = {},
): Promise<Comparison[]> {
  const rows: Comparison[] = [];
  const perContender = tasks.reduce((sum, { examples }) => sum + examples.length, 0);
  const total = contenders.length * perContender;
  let done = 0;
  for (const contender of contenders) {
    const { name } = contender;
    onProgress?.(done, total, name);
    const start = performance.now();
    const { soup, weights, relativeError, unload } = await prepare(model, contender, options);
    const preparationMs = performance.now() - start;
    try {
      const evaluations: Evaluation[] = [];
      for (const task of tasks) {
        const report = (count: number): void => onProgress?.(done + count, total, name);
        evaluations.push(await evaluate(model, task, { ...options, soup, onProgress: report }));
        done += task.examples.length;
      }
      rows.push({ name, weights, relativeError, preparationMs, evaluations });
    } finally {
      await unload();
    }
  }
  return rows;
}

interface Prepared {
  readonly soup: Soup | undefined;
  readonly weights: SoupWeights | undefined;
  readonly relativeError: number;
  readonly unload: () => Promise<void>;
}

async function prepare(
  model: Model,
  contender: Contender,
  { signal }: Pick<EvaluateOptions, "signal">,
): Promise<Prepared> {
  switch (contender.kind) {
    case "base":
      return { ...live(undefined), weights: undefined };
    case "soup":
      return live(model.soup(contender.weights));
    case "recipe":
      return live(await model.loadSoup(contender.recipe, { signal }));
    case "learned":
      return live((await model.learnSoup({ ...contender.options, signal })).soup);
    case "merge": {
      const { method, weights, options } = contender;
      return merged(model, method, weights, options, signal);
    }
    case "lorahub": {
      const { byName } = await findLorahubWeights(model, { ...contender, signal });
      return merged(model, "lorahub", byName, {}, signal);
    }
    default:
      return contender satisfies never;
  }
}

function live(soup: Soup | undefined): Prepared {
  return { soup, weights: soup?.weights, relativeError: 0, unload: async () => undefined };
}

async function merged(
  model: Model,
  method: string,
  weights: SoupWeights,
  options: MergeOptions,
  signal: AbortSignal | undefined,
): Promise<Prepared> {
  const name = freeName(model, `${method} merge`);
  const { relativeError } = await model.merge({ ...options, method, weights }, { name, signal });
  const unload = (): Promise<void> => model.unloadAdapter(name);
  return { soup: model.soup({ [name]: 1 }), weights, relativeError, unload };
}
