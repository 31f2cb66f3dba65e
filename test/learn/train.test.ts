// The learning loop on an objective that can be written down: ways to end, resuming, and what is kept.
import { describe, expect, test } from "vitest";
import type { TrainingExample } from "../../src/learn/backward.ts";
import { type HyperParameters, resolveHyperParameters } from "../../src/learn/options.ts";
import { type Slot, SoupParameters } from "../../src/learn/parameters.ts";
import type { LearningState } from "../../src/learn/state.ts";
import {
  type Objective,
  type TrainingHooks,
  type TrainingProgress,
  type TrainingResult,
  train,
} from "../../src/learn/train.ts";
import { Random } from "../../src/math/random.ts";
import { listLinears } from "../../src/model/config.ts";
import { tinyConfig } from "../support/models.ts";
import { random } from "../support/values.ts";

const slots: Slot[] = listLinears(tinyConfig())
  .slice(0, 3)
  .flatMap((linear) => [0, 1].map((adapter) => ({ linear, adapter, scaling: 2 })));

/** m that the objective wants: weights 1.5, 0.5 in every linear layer. */
const WANTED = slots.map(({ adapter }) => (adapter === 0 ? 3 : 1));

/** An example's loss is its weight times |m - wanted - noise(example)|² / 2; its id decides the noise. */
class Quadratic implements Objective {
  m: ArrayLike<number> = [];
  gradient: number[] = slots.map(() => 0);
  calls = 0;
  /** Before each call that gathers a gradient. */
  before: (call: number) => void = () => undefined;
  /** Replaces a loss. */
  change: (loss: number, call: number) => number = (loss) => loss;

  setWeights(m: ArrayLike<number>): void {
    this.m = Float64Array.from(m);
  }

  #terms({ ids, weights }: TrainingExample): { loss: number; gradient: number[] } {
    const weight = weights.reduce((a, b) => a + b, 0);
    const noise = random(ids[1]!);
    const difference = WANTED.map((wanted, i) => this.m[i]! - wanted - 0.2 * (noise() - 0.5));
    const loss = (weight * difference.reduce((sum, d) => sum + d * d, 0)) / 2;
    return { loss, gradient: difference.map((d) => weight * d) };
  }

  async loss(example: TrainingExample): Promise<number> {
    return this.#terms(example).loss;
  }

  async accumulate(example: TrainingExample): Promise<number> {
    this.before(++this.calls);
    const { loss, gradient } = this.#terms(example);
    gradient.forEach((g, i) => {
      this.gradient[i]! += g;
    });
    return this.change(loss, this.calls);
  }

  async takeGradient(): Promise<number[]> {
    return this.gradient.splice(0, Number.POSITIVE_INFINITY, ...slots.map(() => 0));
  }
}

function examples(count: number, first: number): TrainingExample[] {
  return Array.from({ length: count }, (_, i) => {
    const length = 2 + ((i * 5) % 4);
    return {
      ids: Array.from({ length }, (_, t) => first + i + t),
      weights: Array.from({ length: length - 1 }, () => 1),
    };
  });
}

interface Run {
  readonly result: TrainingResult;
  readonly values: Float64Array;
  readonly weights: Float64Array;
  readonly states: LearningState[];
  readonly progress: TrainingProgress[];
}

async function run(
  options: Partial<HyperParameters> = {},
  setup: {
    objective?: Quadratic;
    hooks?: Partial<TrainingHooks>;
    training?: number;
    validation?: number;
  } = {},
): Promise<Run> {
  const hyper = resolveHyperParameters({ learningRate: 0.1, epochs: 4, ...options }, 64);
  const parameters = new SoupParameters(slots, hyper.parametrization, hyper.granularity);
  const { objective = new Quadratic(), hooks, training = 40, validation = 8 } = setup;
  const data = { training: examples(training, 1), validation: examples(validation, 500) };
  const states: LearningState[] = [];
  const progress: TrainingProgress[] = [];
  const result = await train(objective, parameters, data, hyper, new Random(hyper.seed), {
    run: "this",
    onProgress: (event) => progress.push(event),
    onCheckpoint: (state) => {
      states.push(JSON.parse(JSON.stringify(state)));
    },
    ...hooks,
  });
  const { values } = parameters;
  return { result, values, weights: parameters.weights(), states, progress };
}

describe("descent", () => {
  test.each(["softmax-k", "free"] as const)("%s finds the minimum", async (parametrization) => {
    const { result, weights, progress } = await run({ parametrization });
    expect(result.stopReason).toBe("done");
    weights.forEach((weight, i) => {
      expect(Math.abs(weight - WANTED[i]! / 2)).toBeLessThan(0.1);
    });
    expect(progress.length).toBe(4 * 7); // 40 examples, 6 a step
    expect(progress.at(-1)).toMatchObject({ step: 28, steps: 28 });
    const [first] = result.evaluations;
    expect(first!.step).toBe(0);
    expect(result.best.loss!).toBeLessThan(first!.loss / 20);
  });

  test("softmax cannot reach weights that sum to 2, and says nothing false", async () => {
    const { weights } = await run({ parametrization: "softmax", epochs: 20 });
    expect(weights[0]! + weights[1]!).toBeCloseTo(1, 12);
    expect(weights[0]!).toBeGreaterThan(0.9);
  });

  test("losses averaged per example and per token differ", async () => {
    const [token, example] = [await run({ average: "token" }), await run({ average: "example" })];
    expect(example.result.losses[0]).not.toBe(token.result.losses[0]);
  });

  test("the order depends on the seed alone", async () => {
    const [a, b, c] = [await run({ seed: 1 }), await run({ seed: 1 }), await run({ seed: 2 })];
    expect(b.values).toEqual(a.values);
    expect(b.result).toEqual(a.result);
    expect(c.values).not.toEqual(a.values);
  });

  test("every example is seen once in each epoch", async () => {
    const seen: number[] = [];
    const objective = new Quadratic();
    const accumulate = objective.accumulate.bind(objective);
    objective.accumulate = (example) => {
      seen.push(example.ids[0]!);
      return accumulate(example);
    };
    await run({ epochs: 2 }, { objective, validation: 0 });
    const ascending = (a: number, b: number): number => a - b;
    const all = Array.from({ length: 40 }, (_, i) => i + 1);
    expect(seen.slice(0, 40).sort(ascending)).toEqual(all);
    expect(seen.slice(40).sort(ascending)).toEqual(all);
    expect(seen.slice(40)).not.toEqual(seen.slice(0, 40));
  });
});

describe("resuming", () => {
  test.each([8, 0])("equals an uninterrupted run, %d validation examples", async (validation) => {
    const whole = await run({}, { validation });
    for (const at of [1, 6, 7, 13, 27, 28]) {
      const resume = whole.states[at - 1];
      expect(resume?.step).toBe(at);
      const rest = await run({}, { validation, hooks: { resume } });
      expect(rest.values, `from step ${at}`).toEqual(whole.values);
      expect(rest.result, `from step ${at}`).toEqual(whole.result);
    }
  });
});

describe("aborting", () => {
  test.each([8, 0])("keeps the best so far, %d validation examples", async (validation) => {
    const controller = new AbortController();
    const objective = new Quadratic();
    objective.before = (call) => call === 50 && controller.abort();
    const hooks = { signal: controller.signal };
    const { result, values, states } = await run({}, { objective, validation, hooks });
    expect(result.stopReason).toBe("aborted");
    expect(result.steps).toBe(8); // call 50 is in the second step of the second epoch
    const last = states.at(-1)!;
    expect([...values]).toEqual(validation > 0 ? last.best.values : last.values);
  });

  test("before the first step gives the uniform soup", async () => {
    const hooks = { signal: AbortSignal.abort() };
    const { result, weights } = await run({}, { hooks });
    expect(result).toMatchObject({ stopReason: "aborted", steps: 0 });
    expect([...weights]).toEqual(slots.map(() => 1));
  });
});

describe("losses that are not finite", () => {
  test.each([8, 0])("stop, and the best is kept, %d validation examples", async (validation) => {
    const objective = new Quadratic();
    objective.change = (loss, call) => (call > 60 ? Number.NaN : loss);
    const { result, values, states } = await run({}, { objective, validation });
    expect(result.stopReason).toBe("not-finite");
    expect(result.losses.every(Number.isFinite)).toBe(true);
    const last = states.at(-1)!;
    expect([...values]).toEqual(last.best.values);
    // Without validation: the values before the step that led here.
    if (validation === 0) expect([...values]).toEqual(states.at(-2)!.values);
  });

  test("in the gradient alone", async () => {
    const objective = new Quadratic();
    objective.takeGradient = async () => slots.map((_, i) => (i === 3 ? Number.NaN : 0.1));
    await expect(run({}, { objective })).rejects.toMatchObject({ code: "LOGITS_NOT_FINITE" });
  });

  test("from the start are an error", async () => {
    const objective = new Quadratic();
    objective.loss = async () => Number.NaN;
    await expect(run({}, { objective })).rejects.toMatchObject({ code: "LOGITS_NOT_FINITE" });
    objective.change = () => Number.POSITIVE_INFINITY;
    const failing = run({}, { objective, validation: 0 });
    await expect(failing).rejects.toMatchObject({ code: "LOGITS_NOT_FINITE" });
  });

  test("weights beyond f32", async () => {
    const options = { parametrization: "free", learningRate: 1e300, warmup: 0 } as const;
    const { result, weights } = await run(options);
    expect(result.stopReason).toBe("not-finite");
    expect([...weights]).toEqual(slots.map(() => 1));
  });
});

describe("patience", () => {
  test("ends a run that no longer improves, and goes back to its best", async () => {
    const objective = new Quadratic();
    let evaluation = 0;
    const losses = [10, 8, 5, 6, 7, 5.5, 5, 4];
    objective.loss = async (example) => {
      if (example.ids[0] === 500) evaluation++;
      return losses[evaluation - 1]! / 8;
    };
    const { result, values, states } = await run({ patience: 3 }, { objective });
    expect(result.stopReason).toBe("patience");
    expect(result.evaluations.map(({ loss }) => Math.round(10 * loss) / 10)).toEqual([
      10, 8, 5, 6, 7, 5.5,
    ]);
    expect(result.best.loss).toBeCloseTo(5, 12);
    expect([...values]).toEqual(states.find(({ step }) => step === result.best.step)!.values);
  });
});

test("errors of the objective pass through", async () => {
  const objective = new Quadratic();
  objective.before = (call) => {
    if (call === 9) throw new Error("the device is gone");
  };
  await expect(run({}, { objective })).rejects.toThrow("the device is gone");
});
