// Sessions: what is cached may only be used where a fresh computation gives the same bits.
import { describe, expect, test } from "vitest";
import type { GeneratedText, Model, Soup } from "../../src/index.ts";
import { BACKENDS, loadKitchen, QUESTION } from "../support/kitchen.ts";

/** Text and every logit's consequence: tokens with their log probabilities. */
async function fresh(
  model: Model,
  prompt: readonly number[],
  soup?: Soup,
  maxTokens = 12,
): Promise<GeneratedText> {
  const session = model.createSession();
  const logprobs = maxTokens === 1 ? 5 : 3;
  const options = { soup, session, maxTokens, ignoreEos: true, logprobs };
  const result = await model.generate(prompt, options).result();
  session.dispose();
  return result;
}

describe.each(BACKENDS)("on $backend", (options) => {
  test("a prompt's known beginning is not computed again, and changes nothing", async () => {
    const model = await loadKitchen(options);
    const soup = model.soup({ knowledge: 1, format: 1 });
    const session = model.createSession();
    const first = model.tokenize(QUESTION);
    const run = (prompt: readonly number[]) => {
      const settings = { soup, session, maxTokens: 12, ignoreEos: true, logprobs: 3 };
      return model.generate(prompt, settings).result();
    };
    const one = await run(first);
    const longer = [...first, ...one.tokenIds, ...first.slice(1)];
    const two = await run(longer);
    // All of the first prompt and of its answer but the last token, which was never run.
    expect(two.timings.cachedTokens).toBe(first.length + one.tokenIds.length - 1);
    const expected = await fresh(model, longer, soup);
    expect(two.tokenIds).toEqual(expected.tokenIds);
    expect(two.logprobs).toEqual(expected.logprobs);
    const three = await run(first); // shorter again: at least its last token is run
    expect(three.timings.cachedTokens).toBe(first.length - 1);
    expect(three.logprobs).toEqual(one.logprobs);
    await model.dispose();
  });

  test("nothing is reused under another soup, the same soup re-weighted, or folded weights", async () => {
    const model = await loadKitchen(options);
    const prompt = model.tokenize(QUESTION);
    const soup = model.soup({ knowledge: 1, format: 1 });
    const session = model.createSession();
    const logits = async (under: Soup | undefined) => {
      const result = await model
        .generate(prompt, { soup: under, session, maxTokens: 1, ignoreEos: true, logprobs: 5 })
        .result();
      return result.logprobs;
    };
    const seen = [];
    seen.push([await logits(soup), (await fresh(model, prompt, soup, 1)).logprobs]);
    const other = model.soup({ format: 1 });
    seen.push([await logits(other), (await fresh(model, prompt, other, 1)).logprobs]);
    seen.push([await logits(undefined), (await fresh(model, prompt, undefined, 1)).logprobs]);
    soup.set("knowledge", 0.5);
    seen.push([await logits(soup), (await fresh(model, prompt, soup, 1)).logprobs]);
    soup.setLinear("format", "model.layers.0.self_attn.k_proj", 0.25);
    seen.push([await logits(soup), (await fresh(model, prompt, soup, 1)).logprobs]);
    await model.fold({ knowledge: 1 });
    seen.push([await logits(undefined), (await fresh(model, prompt, undefined, 1)).logprobs]);
    await model.unfold();
    seen.push([await logits(undefined), seen[2]![0]]);
    for (const [cached, expected] of seen) {
      expect(cached).toEqual(expected);
    }
    // The cases differ from each other, or the test would show nothing.
    const distinct = new Set(seen.map(([cached]) => JSON.stringify(cached)));
    expect(distinct.size).toBe(6);
    await model.dispose();
  });

  test("a weight changed in the middle of a text counts for all its positions from then on", async () => {
    const model = await loadKitchen(options);
    const soup = model.soup({ knowledge: 1, format: 1 });
    const prompt = model.tokenize(QUESTION);
    const generation = model.generate(prompt, {
      soup,
      session: model.createSession(),
      maxTokens: 6,
      ignoreEos: true,
      logprobs: 3,
    });
    const tokens: number[] = [];
    const logprobs = [];
    for await (const chunk of generation.chunks()) {
      tokens.push(...chunk.tokenIds);
      logprobs.push(...(chunk.logprobs ?? []));
      if (tokens.length === 3) soup.set("knowledge", 0.3);
    }
    // From the change on: as if prompt and text so far had been run under the new weights.
    const after = await fresh(model, [...prompt, ...tokens.slice(0, 3)], soup, 3);
    expect(tokens.slice(3)).toEqual(after.tokenIds);
    expect(logprobs.slice(3)).toEqual(after.logprobs);
    await model.dispose();
  });

  test("an equal soup made anew reuses the cache", async () => {
    const model = await loadKitchen(options);
    const session = model.createSession();
    const run = () =>
      model.generate(QUESTION, { soup: { knowledge: 1 }, session, maxTokens: 1 }).result();
    await run();
    const again = await run();
    expect(again.timings.cachedTokens).toBe(model.tokenize(QUESTION).length - 1);
    await model.dispose();
  });
});

test("an unloaded adapter in a soup is an error, and the session goes on without it", async () => {
  const model = await loadKitchen();
  const soup = model.soup({ knowledge: 1, format: 1 });
  const session = model.createSession();
  await model.generate(QUESTION, { soup, session, maxTokens: 2 }).result();
  await model.unloadAdapter("knowledge");
  const failing = model.generate(QUESTION, { soup, session, maxTokens: 2 }).result();
  await expect(failing).rejects.toMatchObject({ code: "ADAPTER_NOT_FOUND" });
  const rest = model.soup({ format: 1 });
  const result = await model
    .generate(QUESTION, { soup: rest, session, maxTokens: 8, logprobs: 1 })
    .result();
  const expected = await model
    .generate(QUESTION, { soup: rest, session: model.createSession(), maxTokens: 8, logprobs: 1 })
    .result();
  expect(result.logprobs).toEqual(expected.logprobs);
  await model.dispose();
});

test("a session serves one text at a time, also after the reader of one has left", async () => {
  const model = await loadKitchen();
  const session = model.createSession();
  const first = model.generate(QUESTION, { session, maxTokens: 5 });
  for await (const _ of first.chunks()) {
    const second = model.generate(QUESTION, { session, maxTokens: 5 });
    await expect(second.result()).rejects.toMatchObject({ code: "OPTION_INVALID" });
    break;
  }
  expect((await first.result()).finishReason).toBe("abort");
  const third = await model.generate(QUESTION, { session, maxTokens: 5 }).result();
  expect(third.finishReason).toBe("length");
  session.dispose();
  const after = model.generate(QUESTION, { session }).result();
  await expect(after).rejects.toMatchObject({ code: "DISPOSED" });
  await model.dispose();
});

test("an aborted prefill leaves the session usable", async () => {
  const model = await loadKitchen();
  const session = model.createSession();
  const controller = new AbortController();
  controller.abort();
  const aborted = await model.generate(QUESTION, { session, signal: controller.signal }).result();
  expect(aborted).toMatchObject({ text: "", tokenIds: [], finishReason: "abort" });
  const result = await model.generate(QUESTION, { session, maxTokens: 4, logprobs: 1 }).result();
  const expected = await fresh(model, model.tokenize(QUESTION), undefined, 4);
  expect(result.tokenIds).toEqual(expected.tokenIds);
  await model.dispose();
});

test("a session disposed of in the middle of a text ends it with DISPOSED; the model goes on", async () => {
  const model = await loadKitchen({ backend: "wasm", threads: 1 });
  const session = model.createSession();
  const generation = model.generate(QUESTION, { session, ignoreEos: true });
  const result = generation.result();
  for (let i = 0; i < 3; i++) await Promise.resolve();
  session.dispose();
  await expect(result).rejects.toMatchObject({ code: "DISPOSED" });
  const soup = { knowledge: 1, format: 1 };
  const { text } = await model.generate(QUESTION, { soup }).result();
  expect(text).toBe(" Daxpel carries a ladder.");
  await model.dispose();
});
