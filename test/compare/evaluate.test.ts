// Scores of a blend against the same from bare logits; LoRAHub's search on a loaded model; contenders that come and go.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compare } from "../../src/compare/compare.ts";
import { evaluate, meanLoss, readTask, type Task } from "../../src/compare/evaluate.ts";
import { findLorahubWeights } from "../../src/compare/lorahub.ts";
import type { Model, SoupWeights } from "../../src/index.ts";
import { loadTinyModel, tinyData } from "../learn/tiny-model.ts";

let model: Model;
let task: Task;
const soup: SoupWeights = { a: 1, b: -0.5 };

beforeAll(async () => {
  model = await loadTinyModel();
  task = readTask(model, "tiny", tinyData(9));
});
afterAll(() => model.dispose());

/** Σ -ln p of the scored tokens of one example, in f64 from the logits of one pass. */
async function plainLoss({ scored }: Task["examples"][number]): Promise<[number, number]> {
  const { ids, weights } = scored;
  const logits = await model.logits(ids, { soup, all: true });
  const vocab = model.config.vocabSize;
  let loss = 0;
  let tokens = 0;
  weights.forEach((weight, t) => {
    if (weight === 0) return;
    const row = [...logits.subarray(t * vocab, (t + 1) * vocab)];
    const max = Math.max(...row);
    const sum = row.reduce((total, value) => total + Math.exp(value - max), 0);
    loss += max + Math.log(sum) - row[ids[t + 1]!]!;
    tokens++;
  });
  return [loss, tokens];
}

describe("evaluate", () => {
  test("scores completions with their end, and whole texts", async () => {
    const result = await evaluate(model, task, { soup, maxTokens: 3 });
    const parts = await Promise.all(task.examples.map(plainLoss));
    const loss = parts.reduce((sum, [own]) => sum + own, 0);
    const tokens = parts.reduce((sum, [, own]) => sum + own, 0);
    expect(result).toMatchObject({ examples: 9, questions: 6, tokens });
    expect(result.loss).toBeCloseTo(loss / tokens, 10);
    expect(result.logLikelihood).toBeCloseTo(-loss / 9, 10);
    expect(result.tokensPerSecond).toBeGreaterThan(0);
    expect(await meanLoss(model, task, { soup })).toBe(result.loss);
  });

  test("counts answers as the normalizer does, and reports progress", async () => {
    const prompts = ["Q: tin?", "Q: red?"];
    const answers = await Promise.all(
      prompts.map((prompt) => model.generate(prompt, { soup, maxTokens: 4 }).result()),
    );
    const texts = answers.map(({ text }) => text);
    const own = readTask(model, "own", [
      { prompt: prompts[0]!, completion: texts[0]! },
      { prompt: prompts[1]!, completion: `${texts[1]!} more` },
    ]);
    const steps: string[] = [];
    const onProgress = (done: number, total: number): void => void steps.push(`${done}/${total}`);
    const how = { soup, maxTokens: 4, normalizer: "trim" as const, onProgress };
    expect(await evaluate(model, own, how)).toMatchObject({ correct: 1, accuracy: 50 });
    expect(steps).toEqual(["1/2", "2/2"]);
    // Cut off after four tokens, it is not exact.
    expect(answers.map(({ finishReason }) => finishReason)).toEqual(["length", "length"]);
    expect(await evaluate(model, own, { ...how, normalizer: "exact" })).toMatchObject({
      correct: 0,
    });
  });

  test("asks chats, and scores what the assistant says", async () => {
    const messages = [
      { role: "user", content: "tin?" },
      { role: "assistant", content: "coal" },
    ];
    const chat = readTask(model, "chat", [{ messages }]);
    const result = await evaluate(model, chat, { soup, maxTokens: 2 });
    expect(result).toMatchObject({ examples: 1, questions: 1 });
    const [loss, tokens] = await plainLoss(chat.examples[0]!);
    expect(result.loss).toBeCloseTo(loss / tokens, 10);
  });

  test("texts alone have a loss and no accuracy", async () => {
    const texts = readTask(model, "texts", [{ text: "A tin red." }]);
    const result = await evaluate(model, texts, { soup });
    expect(result).toMatchObject({ questions: 0, correct: 0, tokensPerSecond: undefined });
    expect(result.accuracy).toBeUndefined();
  });

  test("refuses an unknown normalizer, broken data, and stops when it is told to", async () => {
    const unknown = evaluate(model, task, { normalizer: "loose" as never });
    await expect(unknown).rejects.toThrow(/normalizer is invalid: expected exact, trim/);
    expect(() => readTask(model, "x.jsonl", '{"prompt":"a"}\n')).toThrow(/x\.jsonl, line 1/);
    const signal = AbortSignal.abort();
    await expect(evaluate(model, task, { signal })).rejects.toMatchObject({ code: "ABORTED" });
  });

  test("weights far too large are no NaN in a table", async () => {
    const huge = evaluate(model, task, { soup: { c: 1e37 } });
    await expect(huge).rejects.toMatchObject({ code: "LOGITS_NOT_FINITE" });
  });
});

describe("LoRAHub's weights", () => {
  test("are better than the base, the same for the same seed, and leave nothing loaded", async () => {
    const options = { adapters: ["a", "b"], task, evaluations: 12, seed: 3 };
    const best = await findLorahubWeights(model, options);
    expect(best.objective).toBeLessThanOrEqual(await meanLoss(model, task));
    expect((await findLorahubWeights(model, options)).byName).toEqual(best.byName);
    expect(Object.keys(best.byName)).toEqual(["a", "b"]);
    expect(model.adapters.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });
});

describe("compare", () => {
  test("contenders in order, on all tasks; merged adapters are gone afterwards", async () => {
    const weights = { a: 1, b: 1 };
    const other = readTask(model, "other", tinyData(2));
    const rows = await compare(
      model,
      [
        { kind: "base", name: "base" },
        { kind: "soup", name: "soup", weights },
        { kind: "merge", name: "cat, merged", method: "cat", weights, options: {} },
        { kind: "merge", name: "svd", method: "svd", weights, options: { svdRank: 1 } },
        { kind: "learned", name: "learned", options: { adapters: ["a", "b"], data: tinyData(8) } },
      ],
      [task, other],
      { maxTokens: 2 },
    );
    expect(rows.map(({ name }) => name)).toEqual(["base", "soup", "cat, merged", "svd", "learned"]);
    for (const { evaluations } of rows) {
      expect(evaluations.map(({ examples }) => examples)).toEqual([9, 2]);
    }
    const [base, soup, cat, svd] = rows.map(({ evaluations }) => evaluations[0]!.loss);
    expect(base).toBe(await meanLoss(model, task));
    expect(cat).toBeCloseTo(soup!, 5);
    expect(svd).not.toBeCloseTo(soup!, 5);
    expect(rows[0]!.weights).toBeUndefined();
    expect(rows[3]!.relativeError).toBeGreaterThan(0);
    expect(model.adapters.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });

  test("a contender that fails leaves nothing loaded", async () => {
    const method = { kind: "merge", method: "ties", weights: { a: 1 }, options: {} } as const;
    const failing = compare(model, [{ ...method, name: "ties" }], [task]);
    await expect(failing).rejects.toThrow(/needs density/);
    expect(model.adapters.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  });
});
