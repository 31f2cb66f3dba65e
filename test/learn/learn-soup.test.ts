// Learning through the public API, on a tiny random model: determinism, resuming, aborting, and what is refused.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../src/api/model.ts";
import type { LearningProgress, LearnSoupOptions } from "../../src/learn/learn-soup.ts";
import type { LearningState } from "../../src/learn/state.ts";
import { parseRecipe, serializeRecipe } from "../../src/soup/recipe.ts";
import type { SoupWeights } from "../../src/soup/weights.ts";
import { VERSION } from "../../src/version.ts";
import { loadTinyModel, tinyAdapterFiles, tinyData } from "./tiny-model.ts";

const base = {
  adapters: ["a", "b", "c"],
  data: tinyData(12),
  validation: 0,
  batchSize: 3,
  learningRate: 0.1,
};

let model: Model;
beforeAll(async () => {
  model = await loadTinyModel();
});
afterAll(async () => {
  await model.dispose();
});

describe("learning", () => {
  test("lowers the loss, and records how", async () => {
    const steps: number[] = [];
    const learned = await model.learnSoup({
      ...base,
      data: tinyData(24),
      validation: 0.25,
      patience: 100,
      epochs: 2,
      onProgress: ({ step }) => steps.push(step),
    });
    const { evaluations, bestStep } = learned;
    expect(steps).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(learned.losses.at(-1)!).toBeLessThan(learned.losses[0]!);
    const lowest = Math.min(...evaluations.map(({ loss }) => loss));
    expect(lowest).toBeLessThan(evaluations[0]!.loss);
    expect(evaluations.find(({ step }) => step === bestStep)!.loss).toBe(lowest);

    const recipe = parseRecipe(serializeRecipe(learned.recipe));
    expect(recipe).toEqual(learned.recipe);
    expect(recipe.learned).toMatchObject({
      method: "learned-cat",
      tureen: VERSION,
      backend: "reference",
      weightType: "f32",
      parametrization: "softmax-k",
      granularity: "linear",
      seed: 0,
      examples: 18,
      validationExamples: 6,
      stopReason: "done",
      steps: 12,
    });
    expect(recipe.learned!.dataSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(recipe.learned!.losses).toHaveLength(12);

    // The recipe and the live soup compute the same.
    const ids = [1, 20, 30, 40];
    const fromRecipe = await model.loadSoup(serializeRecipe(learned.recipe));
    const logits = await model.logits(ids, { soup: learned.soup });
    expect(await model.logits(ids, { soup: fromRecipe })).toEqual(logits);
    expect(await model.logits(ids, { soup: { a: 1, b: 1, c: 1 } })).not.toEqual(logits);
  });

  test("sums to the number of adapters where they meet, and to 1 where one is alone", async () => {
    let seen: SoupWeights = {};
    const onProgress = (progress: LearningProgress) => {
      seen = progress.weights;
    };
    const { soup } = await model.learnSoup({ ...base, onProgress });
    const weights = soup.weights as Record<string, { linears: Record<string, number> }>;
    expect(model.soup(seen).weights).toEqual(weights); // without validation, the last step's are kept
    const q = "model.layers.1.self_attn.q_proj";
    expect(weights.a!.linears[q]! + weights.b!.linears[q]!).toBeCloseTo(2, 12);
    expect(weights.a!.linears[q]).not.toBe(1);
    expect(weights.a!.linears["model.layers.0.mlp.down_proj"]).toBe(1);
    expect(weights.c).toBe(1); // alone in gate and up
  });

  test.each([
    ["layer", (weights: Record<string, unknown>) => weights.a],
    ["module-type", (weights: Record<string, unknown>) => weights.a],
  ] as const)("shares weights per %s", async (granularity, of) => {
    const { soup } = await model.learnSoup({ ...base, granularity, parametrization: "free" });
    const { linears } = of(soup.weights) as { linears: Record<string, number> };
    const groups = new Map<string, Set<number>>();
    for (const [path, weight] of Object.entries(linears)) {
      const key = granularity === "layer" ? path.split(".")[2]! : path.split(".").at(-1)!;
      groups.set(key, (groups.get(key) ?? new Set()).add(weight));
    }
    expect([...groups.values()].map(({ size }) => size)).toEqual([...groups.keys()].map(() => 1));
    expect(groups.size).toBe(granularity === "layer" ? 2 : 3);
  });

  test("one global weight for a single adapter, when it is free", async () => {
    const options = { ...base, adapters: ["a"], parametrization: "free", granularity: "global" };
    const { soup } = await model.learnSoup(options as LearnSoupOptions);
    expect(typeof soup.weights.a).toBe("number");
    expect(soup.weights.a).not.toBe(1);
  });

  test("takes several sets, a share of each, and chats", async () => {
    const chat = {
      messages: [
        { role: "user", content: "red?" },
        { role: "assistant", content: "coal" },
      ],
    };
    const { recipe } = await model.learnSoup({
      ...base,
      data: [
        { name: "a.jsonl", examples: tinyData(20) },
        { name: "chats", examples: Array.from({ length: 10 }, () => chat) },
      ],
      fraction: 0.5,
      validation: 0.1,
    });
    // halves of 20 and 10, a tenth of each to validation but one at least
    expect(recipe.learned).toMatchObject({ examples: 9 + 4, validationExamples: 2 });
  });
});

describe("determinism", () => {
  test("the same seed gives the same bytes, another seed others", async () => {
    const learn = async (seed: number): Promise<string> =>
      serializeRecipe((await model.learnSoup({ ...base, seed })).recipe);
    const first = await learn(3);
    expect(await learn(3)).toBe(first);
    expect(await learn(4)).not.toBe(first);
  });

  test("neither other work between nor the order of names changes anything", async () => {
    const first = serializeRecipe((await model.learnSoup(base)).recipe);
    const learning = model.learnSoup({ ...base, adapters: ["c", "a", "b"] });
    const logits = await model.logits([1, 5, 9], { soup: { a: 0.5, b: -1 } });
    expect(serializeRecipe((await learning).recipe)).toBe(first);
    expect(await model.logits([1, 5, 9], { soup: { a: 0.5, b: -1 } })).toEqual(logits);
  });
});

describe("checkpoints", () => {
  test("resume to the same bytes, and refuse another run", async () => {
    const states: string[] = [];
    const onCheckpoint = (state: LearningState): void => {
      states.push(JSON.stringify(state));
    };
    const whole = await model.learnSoup({ ...base, epochs: 2, onCheckpoint });
    expect(states.length).toBe(8);
    for (const resume of [states[0], states[4], JSON.parse(states[7]!)]) {
      const rest = await model.learnSoup({ ...base, epochs: 2, resume });
      expect(serializeRecipe(rest.recipe)).toBe(serializeRecipe(whole.recipe));
    }
    const other: [Partial<LearnSoupOptions>, string][] = [
      [{ epochs: 3 }, "OPTION_INVALID"],
      [{ epochs: 2, data: tinyData(11) }, "OPTION_INVALID"],
      [{ epochs: 2, adapters: ["a", "b"] }, "OPTION_INVALID"],
      [{ epochs: 2, resume: states[0]!.slice(0, -5) }, "FORMAT_INVALID"],
      [{ epochs: 2, resume: {} }, "FORMAT_INVALID"],
      [{ epochs: 2, resume: { ...JSON.parse(states[0]!), values: [1] } }, "FORMAT_INVALID"],
    ];
    for (const [change, code] of other) {
      const failing = model.learnSoup({ ...base, resume: states[3], ...change });
      await expect(failing).rejects.toMatchObject({ code });
    }
  });

  test("an abort keeps the best and leaves the model usable", async () => {
    const controller = new AbortController();
    const learned = await model.learnSoup({
      ...base,
      epochs: 50,
      signal: controller.signal,
      onProgress: ({ step }) => step === 3 && controller.abort(),
    });
    expect(learned).toMatchObject({ stopReason: "aborted", steps: 3 });
    expect(learned.recipe.learned).toMatchObject({ stopReason: "aborted", steps: 3 });
    expect((await model.logits([1, 2], { soup: learned.soup })).every(Number.isFinite)).toBe(true);
  });
});

describe("refusals", () => {
  test.each<[string, Partial<LearnSoupOptions> | Record<string, unknown>]>([
    ["no adapters", { adapters: [] }],
    ["a single adapter", { adapters: ["a"] }],
    ["adapters that never meet", { adapters: ["b", "c"] }],
    ["a set without examples", { data: [{ name: "x", examples: 5 }] }],
    ["an unknown adapter", { adapters: ["a", "x"] }],
    ["an adapter twice", { adapters: ["a", "a"] }],
    ["no data", { data: "" }],
    ["no examples", { data: [] }],
    ["data of another type", { data: 7 }],
    ["a bad line in one of several files", { data: [{ name: "x.jsonl", examples: "{}\n" }] }],
    ["an unknown parametrization", { parametrization: "sigmoid" }],
    ["an unknown granularity", { granularity: "head" }],
    ["a truncation beyond the model", { truncation: 65 }],
    ["a fraction of 0", { fraction: 0 }],
    ["a NaN learning rate", { learningRate: Number.NaN }],
    ["half an epoch", { epochs: 0.5 }],
    ["a negative seed", { seed: -1 }],
  ])("%s", async (_, change) => {
    const failure = await model
      .learnSoup({ ...base, ...change } as LearnSoupOptions)
      .catch((error) => error);
    expect(`${failure.code}: ${failure.message}`).toMatchSnapshot();
  });

  test("a folded model", async () => {
    await model.fold({ a: 1 });
    await expect(model.learnSoup(base)).rejects.toMatchObject({ code: "SOUP_INVALID" });
    await model.unfold();
  });

  test("folding or unloading meanwhile", async () => {
    let folding: Promise<void> | undefined;
    const first = model.learnSoup({
      ...base,
      onProgress: () => {
        folding ??= model.fold({ a: 1 });
      },
    });
    await expect(first).rejects.toMatchObject({ code: "SOUP_INVALID" });
    await folding;
    await model.unfold();

    await model.loadAdapter(await tinyAdapterFiles(["q_proj"], 7), { name: "d" });
    let unloading: Promise<void> | undefined;
    const learning = model.learnSoup({
      ...base,
      adapters: ["a", "d"],
      onProgress: () => {
        unloading ??= model.unloadAdapter("d");
      },
    });
    await expect(learning).rejects.toMatchObject({ code: "ADAPTER_NOT_FOUND" });
    await unloading;
  });

  test("adapters so large that nothing is finite", async () => {
    const options = { alpha: 1e38, scale: 100 };
    await model.loadAdapter(await tinyAdapterFiles(["down_proj"], 9, options), {
      name: "huge",
    });
    const learning = model.learnSoup({ ...base, adapters: ["a", "huge"] });
    await expect(learning).rejects.toMatchObject({ code: "LOGITS_NOT_FINITE" });
    await model.unloadAdapter("huge");
  });
});

test("the version is package.json's", () => {
  const json = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  expect(VERSION).toBe(json.version);
});
