// What learning minimizes, on a loaded model: losses and gradients of the decoder under banks of its own. Owns the rules for
// sharing the model with others while learning runs.
import type { Backend, SoupEntry } from "../backend/backend.ts";
import { TureenError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import type { DecoderWeights } from "../model/weights.ts";
import type { LoadedAdapter, LoadedAdapters } from "../soup/loaded-adapters.ts";
import { BackwardPass, type TrainingExample } from "./backward.ts";
import type { LearningText } from "./encode.ts";
import type { Slot } from "./parameters.ts";
import type { Objective } from "./train.ts";

/** What is learned with: the parts of a loaded model. */
export interface LearningTarget {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly weights: DecoderWeights;
  readonly text: LearningText;
  readonly adapters: LoadedAdapters;
  /** Counts changes of the base weights (fold, unfold). */
  readonly weightsVersion: number;
  /** Runs one task at a time; others get their turn between examples. */
  run<T>(task: () => Promise<T>): Promise<T>;
}

/** Milliseconds of work after which timers and events of the host get their turn. */
const BREATH_MS = 10;

/** Losses and gradients of the decoder under banks of its own, so that live soups are not touched. */
export class SoupObjective implements Objective {
  readonly #target: LearningTarget;
  readonly #loaded: readonly LoadedAdapter[];
  readonly #weightsVersion: number;
  readonly #banks = new Map<string, SoupEntry[]>();
  readonly #slots = new Map<string, number[]>();
  readonly #entries: readonly SoupEntry[];
  readonly #pass: BackwardPass;
  #breath = 0;

  constructor(
    target: LearningTarget,
    loaded: readonly LoadedAdapter[],
    slots: readonly Slot[],
    maxTokens: number,
  ) {
    this.#target = target;
    this.#loaded = loaded;
    this.#weightsVersion = target.weightsVersion;
    this.#entries = slots.map(({ linear: { path }, adapter }, slot) => {
      const module = loaded[adapter]!.modules.find(({ linear }) => linear.path === path)!;
      const entry = { segment: module.segment, m: 0 };
      this.#banks.set(path, [...(this.#banks.get(path) ?? []), entry]);
      this.#slots.set(path, [...(this.#slots.get(path) ?? []), slot]);
      return entry;
    });
    const { backend, config, weights } = target;
    this.#pass = new BackwardPass(backend, config, weights, { maxTokens, slots: slots.length });
  }

  setWeights(m: ArrayLike<number>): void {
    this.#entries.forEach((entry, slot) => {
      entry.m = m[slot]!;
    });
  }

  loss(example: TrainingExample): Promise<number> {
    return this.#run(() => this.#pass.loss(example, this.#banks));
  }

  accumulate(example: TrainingExample): Promise<number> {
    return this.#run(() => this.#pass.accumulate(example, this.#banks, this.#slots));
  }

  takeGradient(): Promise<Float32Array> {
    return this.#run(() => this.#pass.takeGradient());
  }

  dispose(): Promise<void> {
    return this.#target.run(async () => this.#pass.dispose()).catch(() => undefined); // with a disposed model, its memory is gone already
  }

  /** Between examples other work on the model has its turn, and now and then the host breathes: an abort gets in. */
  async #run<T>(task: () => Promise<T>): Promise<T> {
    if (performance.now() - this.#breath > BREATH_MS) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#breath = performance.now();
    }
    return this.#target.run(() => {
      this.#check();
      return task();
    });
  }

  #check(): void {
    const gone = this.#loaded.find(({ isLoaded }) => !isLoaded);
    if (gone !== undefined) {
      throw new TureenError("ADAPTER_NOT_FOUND", `adapter "${gone.name}" was unloaded`, {
        hint: "Keep adapters loaded while their soup is learned.",
      });
    }
    if (this.#target.weightsVersion === this.#weightsVersion) return;
    throw new TureenError("SOUP_INVALID", "the base weights changed while a soup was learned", {
      hint: "Fold and unfold before or after.",
    });
  }
}
