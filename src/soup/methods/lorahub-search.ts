// LoRAHub's search (arXiv 2307.13269, section 3.3; `lorahub_learning` in sail-sg/lorahub): one weight per adapter, found by
// evaluating soups on a few examples, without gradients. LoRAHub calls nevergrad's NGOpt; this is a small optimizer of the same
// kind. None from npm fits: those that are maintained (ml-direct) call the loss synchronously, and a model's loss is awaited;
// fmin and optimization-js have not changed for years.
import { TureenError, throwIfAborted } from "../../errors.ts";
import { Random } from "../../math/random.ts";

export interface LorahubSearchOptions {
  /** Number of weights. */
  readonly adapters: number;
  /** Mean loss of the soup with these weights on the examples. Not finite counts as the worst. */
  readonly loss: (weights: readonly number[]) => Promise<number> | number;
  /** How often `loss` is called. Default 40. */
  readonly evaluations?: number;
  /** Weights stay in [-bound, bound]. Default 1.5. */
  readonly bound?: number;
  /** Factor of mean |w|, added to the loss. Default 0.05. */
  readonly regularization?: number;
  /** Default 0. */
  readonly seed?: number;
  readonly signal?: AbortSignal;
  readonly onEvaluation?: (evaluation: LorahubEvaluation) => void;
}

export interface LorahubEvaluation {
  readonly weights: readonly number[];
  readonly loss: number;
  /** loss + regularization · mean |w|, which is minimised. */
  readonly objective: number;
}

/** Of the evaluations, this part looks everywhere before the rest looks around the best. */
const EXPLORING = 1 / 3;

/** Standard deviation of a step, and what it shrinks by after a step that was not better. */
const FIRST_STEP = 0.4;
const SHRINK = 0.93;

/**
 * Starts at 0, the base alone; a third of the evaluations are uniform in the bounds; the rest are a (1+1) evolution strategy:
 * normal steps from the best so far, kept if better, else made shorter. The same seed and losses give the same weights on
 * every host.
 * @returns the best evaluation, the first among equals
 * @throws TureenError `OPTION_INVALID`, `ABORTED`, `SOUP_INVALID` if no loss was finite
 */
export async function searchLorahub(options: LorahubSearchOptions): Promise<LorahubEvaluation> {
  const { adapters, evaluations = 40, bound = 1.5, regularization = 0.05, seed = 0 } = options;
  checkCount("adapters", adapters);
  checkCount("evaluations", evaluations);
  checkRange("bound", bound, bound > 0);
  checkRange("regularization", regularization, regularization >= 0);
  const random = new Random(seed);
  const clamp = (value: number): number => Math.min(bound, Math.max(-bound, value));

  const evaluate = async (weights: readonly number[]): Promise<LorahubEvaluation> => {
    throwIfAborted(options.signal);
    const loss = await options.loss(weights);
    const mean = weights.reduce((sum, weight) => sum + Math.abs(weight), 0) / weights.length;
    const objective = loss + regularization * mean;
    const evaluation = { weights, loss, objective };
    options.onEvaluation?.(evaluation);
    return evaluation;
  };

  let best = await evaluate(new Array<number>(adapters).fill(0));
  let step = FIRST_STEP;
  for (let count = 1; count < evaluations; count++) {
    const explores = count <= Math.floor(evaluations * EXPLORING);
    const weights = best.weights.map((weight) =>
      explores ? (2 * random.nextFloat() - 1) * bound : clamp(weight + step * nextNormal(random)),
    );
    const evaluation = await evaluate(weights);
    if (isBetter(evaluation.objective, best.objective)) best = evaluation;
    else if (!explores) step *= SHRINK;
  }
  if (Number.isFinite(best.objective)) return best;
  throw new TureenError("SOUP_INVALID", "no weights gave a finite loss", {
    found: `${best.loss} after ${evaluations} evaluations`,
  });
}

function isBetter(objective: number, best: number): boolean {
  return Number.isFinite(objective) && !(objective >= best);
}

/** Nearly normal, mean 0, variance 1: the sum of twelve uniform numbers less 6. Additions only, so the same everywhere. */
function nextNormal(random: Random): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random.nextFloat();
  return sum;
}

function checkCount(name: string, value: number): void {
  checkRange(name, value, Number.isInteger(value) && value >= 1, "a whole number of at least 1");
}

function checkRange(
  name: string,
  value: number,
  isValid: boolean,
  expected = "a finite number in its range",
): void {
  if (isValid && Number.isFinite(value)) return;
  throw new TureenError("OPTION_INVALID", `${name} is invalid`, {
    expected,
    found: String(value),
  });
}
