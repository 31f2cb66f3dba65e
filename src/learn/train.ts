// The learning loop: batches, gradients, steps, validation, and every way to end. Knows nothing of decoders: an `Objective`
// gives losses and gradients. Given the same numbers from it, it takes the same steps on every host.
import { TureenError, throwIfAborted } from "../errors.ts";
import type { Random } from "../math/random.ts";
import type { TrainingExample } from "./backward.ts";
import { AdamW, clipGradient, scheduleFactor } from "./optimizer.ts";
import type { HyperParameters } from "./options.ts";
import type { SoupParameters } from "./parameters.ts";
import { shuffled } from "./sampling.ts";
import type { Evaluation, LearningState } from "./state.ts";

/** What is minimized, as a function of m = weight × scaling of every slot. */
export interface Objective {
  setWeights(m: ArrayLike<number>): void;
  /** Σ weights · -log p(next token) of one example. */
  loss(example: TrainingExample): Promise<number>;
  /** The same, and its gradient is gathered. */
  accumulate(example: TrainingExample): Promise<number>;
  /** dLoss / dm of every slot, of all that was gathered. Begins anew. */
  takeGradient(): Promise<ArrayLike<number>>;
}

/** After every step. */
export interface TrainingProgress {
  /** Steps that are done. */
  readonly step: number;
  readonly steps: number;
  /** Mean loss of the step's batch, in nats per token or example. */
  readonly loss: number;
  /** The latest; `undefined` without validation examples. */
  readonly validationLoss: number | undefined;
}

/**
 * - `done`: all steps were taken.
 * - `patience`: the validation loss no longer fell.
 * - `aborted`: the caller's signal.
 * - `not-finite`: a loss or gradient became NaN or infinite.
 */
export type StopReason = "done" | "patience" | "aborted" | "not-finite";

export interface TrainingData {
  readonly training: readonly TrainingExample[];
  readonly validation: readonly TrainingExample[];
}

export interface TrainingHooks {
  /** Identifies the run in its states. */
  readonly run: string;
  /** Where to go on. */
  readonly resume?: LearningState | undefined;
  readonly onProgress?: ((progress: TrainingProgress) => void) | undefined;
  /** Called after every step; the next one waits for it. */
  readonly onCheckpoint?: ((state: LearningState) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface TrainingResult {
  readonly stopReason: StopReason;
  readonly steps: number;
  /** Mean loss of every step's batch. */
  readonly losses: readonly number[];
  /** Of the validation examples; the first is of the uniform soup. */
  readonly evaluations: readonly Evaluation[];
  /** What was found: the lowest validation loss; without validation, the last step. Its values are in `parameters`. */
  readonly best: { readonly step: number; readonly loss: number | undefined };
}

/**
 * Trains `parameters` in place and leaves the best values in them.
 * @param random decides the order of the examples
 * @throws TureenError `LOGITS_NOT_FINITE` if even the first loss is not finite; what the objective throws
 */
export async function train(
  objective: Objective,
  parameters: SoupParameters,
  data: TrainingData,
  options: HyperParameters,
  random: Random,
  hooks: TrainingHooks,
): Promise<TrainingResult> {
  const trainer = new Trainer(objective, parameters, data, options, random, hooks);
  const stopReason = await trainer.run();
  return trainer.finish(stopReason);
}

class Trainer {
  readonly #objective: Objective;
  readonly #parameters: SoupParameters;
  readonly #data: TrainingData;
  readonly #options: HyperParameters;
  readonly #random: Random;
  readonly #hooks: TrainingHooks;
  readonly #optimizer: AdamW;
  readonly #stepsPerEpoch: number;
  readonly #steps: number;
  #step = 0;
  #order: readonly number[] = [];
  #losses: number[] = [];
  #evaluations: Evaluation[] = [];
  #best: LearningState["best"];

  constructor(
    objective: Objective,
    parameters: SoupParameters,
    data: TrainingData,
    options: HyperParameters,
    random: Random,
    hooks: TrainingHooks,
  ) {
    this.#objective = objective;
    this.#parameters = parameters;
    this.#data = data;
    this.#options = options;
    this.#random = random;
    this.#hooks = hooks;
    this.#optimizer = new AdamW(parameters.values.length, options.weightDecay);
    this.#stepsPerEpoch = Math.ceil(data.training.length / options.batchSize);
    this.#steps = this.#stepsPerEpoch * options.epochs;
    this.#best = { step: 0, values: [...parameters.values], loss: null };
    if (hooks.resume !== undefined) this.#restore(hooks.resume);
  }

  async run(): Promise<StopReason> {
    try {
      return await this.#run();
    } catch (error) {
      if (error instanceof TureenError && error.code === "ABORTED") return "aborted";
      throw error;
    }
  }

  finish(stopReason: StopReason): TrainingResult {
    const { values } = this.#parameters;
    const useBest = this.#data.validation.length > 0 || stopReason === "not-finite";
    if (useBest) values.set(this.#best.values);
    return {
      stopReason,
      steps: this.#step,
      losses: this.#losses,
      evaluations: this.#evaluations,
      best: {
        step: useBest ? this.#best.step : this.#step,
        loss: this.#best.loss ?? undefined,
      },
    };
  }

  async #run(): Promise<StopReason> {
    const { validation } = this.#data;
    const { evaluations, patience } = this.#options;
    const interval = Math.max(1, Math.round(this.#steps / evaluations));
    this.#setWeights();
    if (validation.length > 0 && this.#evaluations.length === 0) {
      if (!(await this.#evaluate())) throw neverFinite();
    }
    while (this.#step < this.#steps) {
      const since = this.#evaluations.filter(({ step }) => step > this.#best.step).length;
      if (validation.length > 0 && since >= patience) return "patience";

      const loss = await this.#takeStep();
      if (loss === undefined) {
        if (this.#step === 0) throw neverFinite();
        return "not-finite";
      }
      const due = this.#step % interval === 0 || this.#step === this.#steps;
      if (validation.length > 0 && due && !(await this.#evaluate())) return "not-finite";

      const { onProgress, onCheckpoint } = this.#hooks;
      const validationLoss = this.#evaluations.at(-1)?.loss;
      onProgress?.({ step: this.#step, steps: this.#steps, loss, validationLoss });
      if (onCheckpoint !== undefined) await onCheckpoint(this.#state());
    }
    return "done";
  }

  /** @returns the batch's mean loss, or `undefined` if it, its gradient or the new weights are not finite */
  async #takeStep(): Promise<number | undefined> {
    const { batchSize, schedule, warmup, learningRate, clipNorm } = this.#options;
    const { values } = this.#parameters;
    const at = this.#step % this.#stepsPerEpoch;
    if (at === 0 || this.#order.length === 0) this.#nextEpoch();
    const indices = this.#order.slice(at * batchSize, (at + 1) * batchSize);
    const batch = normalize(
      indices.map((i) => this.#data.training[i]!),
      this.#options.average,
    );
    let loss = 0;
    for (const example of batch) {
      throwIfAborted(this.#hooks.signal);
      loss += await this.#objective.accumulate(example);
      if (!Number.isFinite(loss)) return undefined;
    }
    const gradient = this.#parameters.gradient(await this.#objective.takeGradient());
    if (!gradient.every(Number.isFinite)) return undefined;
    if (this.#data.validation.length === 0) {
      this.#best = { step: this.#step, values: [...values], loss: null };
    }
    if (clipNorm > 0) clipGradient(gradient, clipNorm);
    const rate = learningRate * scheduleFactor(schedule, this.#step, this.#steps, warmup);
    this.#optimizer.step(values, gradient, rate);
    this.#step++;
    this.#losses.push(loss);
    return this.#setWeights() ? loss : undefined;
  }

  /** @returns whether the loss is finite */
  async #evaluate(): Promise<boolean> {
    let loss = 0;
    for (const example of normalize(this.#data.validation, this.#options.average)) {
      throwIfAborted(this.#hooks.signal);
      loss += await this.#objective.loss(example);
    }
    if (!Number.isFinite(loss)) return false;
    this.#evaluations.push({ step: this.#step, loss });
    if (loss < (this.#best.loss ?? Number.POSITIVE_INFINITY)) {
      this.#best = { step: this.#step, values: [...this.#parameters.values], loss };
    }
    return true;
  }

  /** @returns whether all weights are finite */
  #setWeights(): boolean {
    const weights = this.#parameters.weights();
    const m = this.#parameters.slots.map(({ scaling }, i) => Math.fround(weights[i]! * scaling));
    this.#objective.setWeights(m);
    return m.every(Number.isFinite);
  }

  #nextEpoch(): void {
    const indices = Array.from(this.#data.training, (_, i) => i);
    this.#order = shuffled(indices, this.#random);
  }

  #state(): LearningState {
    return {
      format: "tureen-learning",
      version: 1,
      run: this.#hooks.run,
      step: this.#step,
      values: [...this.#parameters.values],
      optimizer: this.#optimizer.state,
      losses: [...this.#losses],
      evaluations: [...this.#evaluations],
      best: this.#best,
    };
  }

  #restore(state: LearningState): void {
    this.#step = state.step;
    this.#parameters.values.set(state.values);
    this.#optimizer.restore(state.optimizer);
    this.#losses = [...state.losses];
    this.#evaluations = [...state.evaluations];
    this.#best = state.best;
    // The order of an epoch follows from those before.
    for (let start = 0; start < state.step; start += this.#stepsPerEpoch) this.#nextEpoch();
  }
}

/** Scales weights so that the sum of the losses is the mean over tokens, or over examples of their own means. */
function normalize(
  batch: readonly TrainingExample[],
  average: "token" | "example",
): TrainingExample[] {
  const totals = batch.map(({ weights }) => weights.reduce((a, b) => a + b, 0));
  const all = totals.reduce((a, b) => a + b, 0);
  return batch.map(({ ids, weights }, i) => {
    const divisor = average === "token" ? all : totals[i]! * batch.length;
    return { ids, weights: weights.map((weight) => weight / divisor) };
  });
}

function neverFinite(): TureenError {
  return new TureenError("LOGITS_NOT_FINITE", "the loss of the uniform soup is not finite", {
    hint: "The model or an adapter is broken, or their scalings are far too large together.",
  });
}
