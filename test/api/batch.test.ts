// Several texts at once: each is what it is alone, whatever the others do.
import { describe, expect, test } from "vitest";
import type { GeneratedText, GenerateTextOptions } from "../../src/index.ts";
import { BACKENDS, loadKitchen, QUESTION } from "../support/kitchen.ts";

interface Wanted {
  readonly prompt: string;
  readonly options: GenerateTextOptions;
}

const REQUESTS: readonly Wanted[] = [
  { prompt: QUESTION, options: { soup: { knowledge: 1, format: 1 }, seed: 1, maxTokens: 12 } },
  { prompt: "x", options: { temperature: 1.1, seed: 2, maxTokens: 20, topK: 5, ignoreEos: true } },
  {
    prompt: QUESTION.repeat(4),
    options: { soup: { format: 1 }, temperature: 0.8, seed: 3, maxTokens: 5 },
  },
  {
    prompt: QUESTION,
    options: {
      soup: { knowledge: 0.4, format: 0.2 },
      temperature: 0.9,
      seed: 4,
      stop: ["e"],
      repetitionPenalty: 1.2,
    },
  },
  { prompt: `${QUESTION} `, options: { seed: 5, maxTokens: 1 } },
].map(({ prompt, options }) => ({ prompt, options: { ...options, logprobs: 2 } }));

/** All but the timings. */
function essence({ timings: _, ...rest }: GeneratedText): Omit<GeneratedText, "timings"> {
  return rest;
}

describe.each(BACKENDS)("on $backend", (options) => {
  test("with other prompts, soups, seeds and stops", async () => {
    const model = await loadKitchen(options);
    const generate = async ({ prompt, options: own }: Wanted): Promise<object> =>
      essence(await model.generate(prompt, own).result());
    const alone = [];
    for (const request of REQUESTS) alone.push(await generate(request));
    expect(await Promise.all(REQUESTS.map(generate))).toEqual(alone);
    // again, each joining while others are under way
    const late = REQUESTS.map(async (request, i) => {
      await new Promise((resolve) => setTimeout(resolve, 3 * i));
      return generate(request);
    });
    expect(await Promise.all(late)).toEqual(alone);
    await model.dispose();
  });
});

test("an abort, an early end and an error of some leave the others alone", async () => {
  const model = await loadKitchen();
  await model.loadAdapter("demo/kitchen/adapters/format", { name: "gone" });
  const broken = model.soup({ gone: 1 });
  await model.unloadAdapter("gone");
  const alone = [];
  for (const { prompt, options } of REQUESTS) {
    alone.push(essence(await model.generate(prompt, options).result()));
  }
  const controller = new AbortController();
  const left = model.generate(QUESTION, { ignoreEos: true });
  const others = [
    model.generate(QUESTION, { ignoreEos: true, signal: controller.signal }).result(),
    model.generate(QUESTION, { soup: broken }).result(),
    (async () => {
      let n = 0;
      for await (const _ of left.chunks()) if (++n === 3) break;
      controller.abort();
      return left.result();
    })(),
    model.generate([1, 2, 10 ** 6]).result(),
  ];
  const results = REQUESTS.map(({ prompt, options }) => model.generate(prompt, options).result());
  const settled = await Promise.allSettled(others);
  expect((await Promise.all(results)).map(essence)).toEqual(alone);
  const ends = settled.map((r) =>
    r.status === "fulfilled" ? r.value.finishReason : r.reason.code,
  );
  expect(ends).toEqual(["abort", "ADAPTER_NOT_FOUND", "abort", "TOKEN_OUT_OF_RANGE"]);
  await model.dispose();
});

test("texts that name no session leave no memory behind, and need no more than they use", async () => {
  const model = await loadKitchen({ backend: "wasm", threads: 1 });
  const run = () =>
    Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        model.generate(QUESTION, { seed: i, temperature: 1, maxTokens: 4 }).result(),
      ),
    );
  for (let i = 0; i < 3; i++) expect((await run()).length).toBe(40);
  await model.dispose();
});

test("a weight changed in the middle of a text is that text's business alone", async () => {
  const model = await loadKitchen();
  const steady = { soup: { knowledge: 1 }, seed: 1, ignoreEos: true, maxTokens: 16, logprobs: 2 };
  const expected = essence(await model.generate(QUESTION, steady).result());
  const live = model.soup({ knowledge: 1, format: 1 });
  const changing = (async () => {
    let weight = 1;
    const options = { soup: live, ignoreEos: true, maxTokens: 16 };
    for await (const _ of model.generate(QUESTION, options)) {
      weight *= 0.9;
      live.set("format", weight);
    }
  })();
  expect(essence(await model.generate(QUESTION, steady).result())).toEqual(expected);
  await changing;
  await model.dispose();
});
