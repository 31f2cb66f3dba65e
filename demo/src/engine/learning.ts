// Learning a soup in the page: the examples that are shown, adapters whose scales agree or not, and the state of a run.
import { type Signal, signal } from "@preact/signals";
import type { LearningProgress, SoupWeights } from "tureen";
import type { RemoteModel, RemoteSoup } from "tureen/worker";
import { countRight } from "./answer.ts";
import { uniform } from "./blend.ts";
import { ADAPTERS, type Kitchen } from "./kitchen.ts";
import { folder } from "./kitchen-files.ts";

export type Scales = "spoiled" | "trained";

/** What each adapter's `lora_alpha` is multiplied by. */
const FACTORS: Readonly<Record<Scales, readonly number[]>> = {
  spoiled: [2, 0.5],
  trained: [1, 1],
};
/** Few examples: some passes over them, in larger steps than for many. */
const TRAINING = { epochs: 3, learningRate: 0.05 };

/** Every other one is enough to tell, before and after. */
export function pickQuestions({ questions }: Kitchen): Kitchen["questions"] {
  return questions.filter((_, i) => i % 2 === 0);
}

export interface Examples {
  readonly facts: readonly { readonly text: string }[];
  readonly answers: readonly { readonly prompt: string; readonly completion: string }[];
}

export async function readExamples({ files }: Kitchen): Promise<Examples> {
  return JSON.parse(await files.get("examples.json")!.text());
}

export interface Score {
  readonly right: number;
  readonly asked: number;
}

export interface LossCurve {
  readonly losses: readonly number[];
  /** Validation losses by step; the first is of the uniform soup. */
  readonly evaluations: readonly { readonly step: number; readonly loss: number }[];
  /** In all. */
  readonly steps: number;
  readonly bestStep?: number;
}

const NO_CURVE: LossCurve = { losses: [], evaluations: [], steps: 0 };

export type Phase = "idle" | "before" | "learning" | "after" | "done";

/** One run at a time; a new one begins anew. */
export class Learning {
  readonly phase: Signal<Phase> = signal("idle");
  readonly curve: Signal<LossCurve> = signal(NO_CURVE);
  readonly weights: Signal<SoupWeights> = signal(uniform(ADAPTERS));
  readonly before: Signal<Score | undefined> = signal(undefined);
  readonly after: Signal<Score | undefined> = signal(undefined);
  readonly seconds: Signal<number | undefined> = signal(undefined);
  readonly stopped: Signal<boolean> = signal(false);
  readonly problem: Signal<unknown> = signal(undefined);
  #stopLearning = new AbortController();
  #stopAll = new AbortController();

  /** @returns when the run is over, however it ends */
  async run(kitchen: Kitchen, scales: Scales, examples: Examples): Promise<void> {
    this.#reset();
    const { model } = kitchen;
    const questions = pickQuestions(kitchen);
    const { signal } = this.#stopAll;
    try {
      const names = await loadScaled(kitchen, scales);
      this.phase.value = "before";
      const count = (soup: RemoteSoup, score: Signal<Score | undefined>) =>
        countRight(model, questions, soup, signal, (asked, right) => {
          score.value = { asked, right };
        });
      await count(await model.soup(uniform(names)), this.before);
      this.phase.value = "learning";
      const soup = await this.#learn(model, names, examples);
      this.phase.value = "after";
      await count(soup, this.after);
    } catch (error) {
      if (!signal.aborted) this.problem.value = error;
    }
    this.phase.value = "done";
  }

  /** Ends learning and keeps the best weights so far; scoring goes on with them. While scoring, ends the run. */
  stop(): void {
    this.stopped.value = true;
    if (this.phase.value === "learning") this.#stopLearning.abort();
    else this.#stopAll.abort();
  }

  /** For the adapters as they were trained: what the spoiled scale took or gave is put into the weights. */
  toTrainedScale(scales: Scales): SoupWeights {
    const entries = ADAPTERS.map((name, i) => {
      const weight = this.weights.value[name] ?? 1;
      const factor = FACTORS[scales][i]!;
      if (typeof weight === "number") return [name, weight * factor] as const;
      const linears = Object.entries(weight.linears ?? {}).map(([path, w]) => [path, w * factor]);
      return [name, { linears: Object.fromEntries(linears) }] as const;
    });
    return Object.fromEntries(entries);
  }

  #reset(): void {
    this.#stopLearning = new AbortController();
    this.#stopAll = new AbortController();
    this.phase.value = "before";
    this.curve.value = NO_CURVE;
    this.weights.value = uniform(ADAPTERS);
    this.before.value = undefined;
    this.after.value = undefined;
    this.seconds.value = undefined;
    this.stopped.value = false;
    this.problem.value = undefined;
  }

  async #learn(
    model: RemoteModel,
    names: readonly string[],
    examples: Examples,
  ): Promise<RemoteSoup> {
    const start = performance.now();
    const { soup, bestStep, evaluations, losses, steps } = await model.learnSoup({
      adapters: names,
      data: [
        { name: "facts", examples: examples.facts },
        { name: "answers", examples: examples.answers },
      ],
      ...TRAINING,
      signal: this.#stopLearning.signal,
      onProgress: (progress) => this.#follow(progress, names),
    });
    this.seconds.value = (performance.now() - start) / 1000;
    this.curve.value = { losses, evaluations, bestStep, steps: this.curve.value.steps || steps };
    this.weights.value = rename(await soup.weights, names);
    return soup;
  }

  #follow(
    { step, steps, loss, validationLoss, weights }: LearningProgress,
    names: readonly string[],
  ) {
    const { losses, evaluations } = this.curve.value;
    const isNew = validationLoss !== undefined && validationLoss !== evaluations.at(-1)?.loss;
    this.curve.value = {
      losses: [...losses, loss],
      // The first is of the weights that learning began with.
      evaluations: isNew
        ? [...evaluations, { step: evaluations.length === 0 ? 0 : step, loss: validationLoss }]
        : evaluations,
      steps,
    };
    this.weights.value = rename(weights, names);
  }
}

/** Loads the adapters once more, with their scale multiplied; as trained, they are there already. */
async function loadScaled({ model, files }: Kitchen, scales: Scales): Promise<string[]> {
  if (scales === "trained") return [...ADAPTERS];
  const loaded = new Set((await model.adapters).map(({ name }) => name));
  return Promise.all(
    ADAPTERS.map(async (adapter, i) => {
      const name = `${adapter} spoiled`;
      if (loaded.has(name)) return name;
      const content = folder(files, `adapters/${adapter}`);
      const config = JSON.parse(await content["adapter_config.json"]!.text());
      config.lora_alpha *= FACTORS[scales][i]!;
      const changed = new Blob([JSON.stringify(config)]);
      await model.loadAdapter({ ...content, "adapter_config.json": changed }, { name });
      return name;
    }),
  );
}

/** Under the names that the page shows. */
function rename(weights: SoupWeights, names: readonly string[]): SoupWeights {
  return Object.fromEntries(ADAPTERS.map((adapter, i) => [adapter, weights[names[i]!] ?? 0]));
}
