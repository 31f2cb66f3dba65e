// Learns a soup: one weight per adapter and linear layer (or coarser), by gradient descent on next-token cross-entropy, with base
// and adapters frozen. "Learned CAT" of LoRA Soups (arXiv 2410.13025). Puts the parts together: data, parameters, the backward
// pass, the loop, and the record of how it went.
import { TureenError } from "../errors.ts";
import { Random } from "../math/random.ts";
import { sha256 } from "../soup/identity.ts";
import type { LoadedAdapter, LoadedAdapters } from "../soup/loaded-adapters.ts";
import type { LearningNotes, SoupRecipe } from "../soup/recipe.ts";
import { Soup } from "../soup/soup.ts";
import type { SoupWeights } from "../soup/weights.ts";
import { VERSION } from "../version.ts";
import type { TrainingExample } from "./backward.ts";
import { type LearningDataSet, type LearningExample, readDataSet } from "./data.ts";
import { encodeExample, type LearningText } from "./encode.ts";
import { type HyperParameters, resolveHyperParameters } from "./options.ts";
import { type Slot, SoupParameters } from "./parameters.ts";
import { drawSamples } from "./sampling.ts";
import { type LearningTarget, SoupObjective } from "./soup-objective.ts";
import { type Evaluation, parseLearningState } from "./state.ts";
import {
  type StopReason,
  type TrainingData,
  type TrainingHooks,
  type TrainingProgress,
  type TrainingResult,
  train,
} from "./train.ts";

/** What to learn from, and how. */
export interface LearnSoupOptions
  extends Partial<HyperParameters>,
    Omit<TrainingHooks, "run" | "resume" | "onProgress"> {
  /** Names of loaded adapters, at least two (one is enough for `free`). */
  readonly adapters: readonly string[];
  /** Examples, the text of a JSONL file, or one set for each skill. */
  readonly data: string | readonly LearningExample[] | readonly LearningDataSet[];
  readonly onProgress?: ((progress: LearningProgress) => void) | undefined;
  /** A state that `onCheckpoint` was given by the same run, or its JSON. */
  readonly resume?: unknown;
}

/** After every step. */
export interface LearningProgress extends TrainingProgress {
  /** As they are after the step, one per linear layer: to watch, or to use already. */
  readonly weights: SoupWeights;
}

/** What learning gives. */
export interface LearnedSoup {
  readonly soup: Soup;
  /** The content of `soup.json`, with the notes of how it was learned. */
  readonly recipe: SoupRecipe;
  readonly stopReason: StopReason;
  /** Steps taken. */
  readonly steps: number;
  /** The step whose weights were kept: the lowest validation loss. */
  readonly bestStep: number;
  /** Mean loss of every step's batch. */
  readonly losses: readonly number[];
  /** Validation losses; the first is of the uniform soup. */
  readonly evaluations: readonly Evaluation[];
}

/** Points that a recorded curve has at most. */
const CURVE_POINTS = 50;

/**
 * Learns a soup of loaded adapters. Base and adapters stay as they are. The same model, adapters, data and options give the
 * same weights on every host (wasm backend). When aborted, returns the best so far.
 * @throws TureenError `OPTION_INVALID`, `ADAPTER_NOT_FOUND`, `FORMAT_INVALID` (data), `TOKENIZER_INVALID`,
 * `BACKEND_UNAVAILABLE`, `LOGITS_NOT_FINITE`, `OUT_OF_MEMORY`, `DISPOSED`
 */
export async function learnSoup(
  target: LearningTarget,
  options: LearnSoupOptions,
): Promise<LearnedSoup> {
  const hyper = resolveHyperParameters(options, target.config.maxPositions);
  const loaded = findAdapters(target.adapters, options.adapters);
  const random = new Random(hyper.seed);
  const data = readData(options.data, target.text, hyper, random);
  const slots = listSlots(loaded, target.adapters);
  const parameters = new SoupParameters(slots, hyper.parametrization, hyper.granularity);
  if (!parameters.canChange) throw nothingToLearn(loaded, hyper);
  const dataHash = await hashText(JSON.stringify(data));
  const run = await identifyRun(target, loaded, hyper, dataHash);
  const resume =
    options.resume === undefined
      ? undefined
      : parseLearningState(options.resume, run, parameters.values.length);

  const objective = new SoupObjective(target, loaded, slots, longest(data));
  let result: TrainingResult;
  try {
    const { onCheckpoint, signal } = options;
    const onProgress =
      options.onProgress &&
      ((progress: TrainingProgress) =>
        options.onProgress?.({ ...progress, weights: toWeights(parameters, loaded) }));
    const hooks = { run, resume, onProgress, onCheckpoint, signal };
    result = await train(objective, parameters, data, hyper, random, hooks);
  } finally {
    await objective.dispose();
  }
  const soup = new Soup(target.adapters, toWeights(parameters, loaded));
  const notes = describeRun(target, hyper, data, dataHash, result);
  return {
    soup,
    recipe: await soup.toRecipe(notes),
    stopReason: result.stopReason,
    steps: result.steps,
    bestStep: result.best.step,
    losses: result.losses,
    evaluations: result.evaluations,
  };
}

/** In load order, which fixes the order of sums. */
function findAdapters(adapters: LoadedAdapters, names: readonly string[]): LoadedAdapter[] {
  if (!Array.isArray(names) || names.length === 0) {
    throw new TureenError("OPTION_INVALID", "learning needs the names of adapters", {
      expected: "at least two loaded adapters",
      found: Array.isArray(names) ? "none" : typeof names,
    });
  }
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) {
    throw new TureenError("OPTION_INVALID", `adapter "${twice}" is named twice`);
  }
  const loaded = names.map((name) => adapters.get(name));
  return loaded.sort((a, b) => a.serial - b.serial);
}

function nothingToLearn(
  loaded: readonly LoadedAdapter[],
  { parametrization }: HyperParameters,
): TureenError {
  return new TureenError("OPTION_INVALID", "these adapters leave nothing to learn", {
    expected: `linear layers with several adapters, for ${parametrization}: weights of a fixed sum`,
    found:
      loaded.length === 1 ? `"${loaded[0]!.name}" alone` : "adapters that share no linear layer",
    hint: "Add another adapter, or choose the parametrization free.",
  });
}

/** Draws, reads and encodes the examples. */
function readData(
  data: LearnSoupOptions["data"],
  text: LearningText,
  hyper: HyperParameters,
  random: Random,
): TrainingData {
  const sets = toDataSets(data).map(readDataSet);
  const sizes = sets.map((examples) => examples.length);
  const samples = drawSamples(sizes, hyper.fraction, hyper.validation, random);
  const encode = (part: "training" | "validation"): TrainingExample[] =>
    samples.flatMap((sample, set) =>
      sample[part].map((i) => encodeExample(sets[set]![i]!, text, hyper)),
    );
  return { training: encode("training"), validation: encode("validation") };
}

function toDataSets(data: LearnSoupOptions["data"]): readonly LearningDataSet[] {
  if (typeof data === "string") return [{ name: "data", examples: data }];
  if (!Array.isArray(data)) {
    throw new TureenError("OPTION_INVALID", "option data is invalid", {
      expected: "examples, the text of a JSONL file, or a list of { name, examples }",
      found: data === null ? "null" : typeof data,
    });
  }
  const items: readonly (LearningExample | LearningDataSet)[] = data;
  const isSet = (item: LearningExample | LearningDataSet): item is LearningDataSet =>
    typeof item === "object" && item !== null && "examples" in item;
  if (items.length > 0 && items.every(isSet)) return items;
  return [{ name: "data", examples: items as readonly LearningExample[] }];
}

/** In model order, then load order. */
function listSlots(loaded: readonly LoadedAdapter[], { linears }: LoadedAdapters): Slot[] {
  const byPath = loaded.map(
    ({ modules }) => new Map(modules.map((module) => [module.linear.path, module])),
  );
  return [...linears.values()].flatMap((linear) =>
    byPath.flatMap((modules, adapter): Slot[] => {
      const module = modules.get(linear.path);
      return module === undefined ? [] : [{ linear, adapter, scaling: module.scaling }];
    }),
  );
}

function longest({ training, validation }: TrainingData): number {
  return [...training, ...validation].reduce(
    (max, { weights }) => Math.max(max, weights.length),
    1,
  );
}

function toWeights(parameters: SoupParameters, loaded: readonly LoadedAdapter[]): SoupWeights {
  const weights = parameters.weights();
  const linears = loaded.map((): Record<string, number> => ({}));
  parameters.slots.forEach(({ linear, adapter }, slot) => {
    linears[adapter]![linear.path] = weights[slot]!;
  });
  return Object.fromEntries(loaded.map(({ name }, i) => [name, { linears: linears[i]! }]));
}

/** SHA-256 of everything that decides the result. */
async function identifyRun(
  { adapters, weights, backend }: LearningTarget,
  loaded: readonly LoadedAdapter[],
  hyper: HyperParameters,
  data: string,
): Promise<string> {
  const identities = [];
  for (const adapter of loaded) identities.push(await adapters.identify(adapter));
  const base = await adapters.identifyBase();
  const { type } = weights.lmHead.matrix;
  const run = { VERSION, backend: backend.name, type, base, identities, hyper, data };
  return hashText(JSON.stringify(run));
}

/** For `soup.json`: nothing that differs between hosts. */
function describeRun(
  { backend, weights }: LearningTarget,
  hyper: HyperParameters,
  { training, validation }: TrainingData,
  data: string,
  { stopReason, steps, losses, evaluations, best }: TrainingResult,
): LearningNotes {
  const stride = Math.ceil(losses.length / CURVE_POINTS) || 1;
  const curve: number[] = [];
  for (let start = 0; start < losses.length; start += stride) {
    const part = losses.slice(start, start + stride);
    curve.push(round(part.reduce((a, b) => a + b, 0) / part.length));
  }
  return {
    method: "learned-cat",
    tureen: VERSION,
    backend: backend.name,
    weightType: weights.lmHead.matrix.type,
    ...hyper,
    dataSha256: data,
    examples: training.length,
    validationExamples: validation.length,
    stopReason,
    steps,
    bestStep: best.step,
    stepsPerPoint: stride,
    losses: curve,
    validationSteps: evaluations.map(({ step }) => step),
    validationLosses: evaluations.map(({ loss }) => round(loss)),
  };
}

/** Five digits say enough of a loss. */
function round(value: number): number {
  return Number(value.toPrecision(5));
}

function hashText(text: string): Promise<string> {
  return sha256(new TextEncoder().encode(text));
}
