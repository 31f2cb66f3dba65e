import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TureenError } from "../../src/errors.ts";
import {
  type GenerationChunk,
  type GenerationInput,
  type GenerationResult,
  generateTokens,
  type StepModel,
} from "../../src/generate/generate.ts";
import type { GenerateOptions } from "../../src/generate/options.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { kitchenModel, loadFolder } from "../text/tokenizer-fixtures.ts";

const tokenizer: Tokenizer = loadFolder(kitchenModel);
const EOS = 2;
const vocabSize = 768;

/** A model whose most probable next token is the script's, in order, then </s>. */
class ScriptedModel implements StepModel {
  readonly fed: number[][] = [];
  readonly #script: readonly number[];
  readonly #length: number;
  #used = 0;

  constructor(script: readonly number[], length = 10_000) {
    this.#script = script;
    this.#length = length;
  }

  forward(ids: readonly number[]): Promise<Float32Array> {
    this.fed.push([...ids]);
    this.#used += ids.length;
    const logits = new Float32Array(vocabSize);
    logits[this.#script[this.fed.length - 1] ?? EOS] = 10;
    return Promise.resolve(logits);
  }

  takeBack(n: number): void {
    this.#used -= n;
  }

  isCurrent(): boolean {
    return true;
  }

  remaining(): number {
    return this.#length - this.#used;
  }
}

/** A model of one function. */
function modelOf(forward: StepModel["forward"], length = 10): StepModel {
  return { forward, takeBack: () => {}, isCurrent: () => true, remaining: () => length };
}

const encode = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
const makeInput = (changes: Partial<GenerationInput> = {}): GenerationInput => ({
  promptIds: [1],
  vocabSize,
  eosTokenIds: [EOS],
  decoder: tokenizer.createDecoder({ skipSpecialTokens: true }),
  ...changes,
});

async function collect(
  model: StepModel,
  options: GenerateOptions = {},
  input: GenerationInput = makeInput(),
  onChunk: (chunk: GenerationChunk) => void = () => undefined,
): Promise<{ chunks: GenerationChunk[]; result: GenerationResult }> {
  const generation = generateTokens(model, input, options);
  const chunks: GenerationChunk[] = [];
  for (;;) {
    const next = await generation.next();
    if (next.done) return { chunks, result: next.value };
    chunks.push(next.value);
    onChunk(next.value);
  }
}

describe("generateTokens", () => {
  it("feeds the prompt, then each token but the last, until the end of text", async () => {
    const script = encode("Jinsil runs on");
    const model = new ScriptedModel(script);
    const { chunks, result } = await collect(
      model,
      { seed: 9 },
      makeInput({ promptIds: [1, 77, 263] }),
    );
    expect(model.fed).toEqual([[1, 77, 263], ...script.map((id) => [id])]);
    expect(result).toEqual({
      text: "Jinsil runs on",
      tokenIds: [...script, EOS],
      finishReason: "stop",
      stoppedBy: EOS,
      promptTokens: 3,
      outputTokens: script.length + 1,
      passes: script.length + 1,
      seed: 9,
    });
    expect(chunks.flatMap((chunk) => chunk.tokenIds)).toEqual(result.tokenIds);
    expect(chunks.map((chunk) => chunk.text).join("")).toBe(result.text);
  });

  it("goes through the end of text if told to, without printing it", async () => {
    const model = new ScriptedModel([...encode("a"), EOS, ...encode("b")]);
    const { result } = await collect(model, { ignoreEos: true, maxTokens: 3 });
    expect(result).toMatchObject({ text: "ab", finishReason: "length", outputTokens: 3 });
  });

  it("stops at a stop token", async () => {
    const [first, second] = encode("ab ab");
    const model = new ScriptedModel([first!, second!]);
    const { result } = await collect(model, { stopTokens: [second!] });
    expect(result).toMatchObject({
      tokenIds: [first, second],
      finishReason: "stop",
      stoppedBy: second,
    });
    expect(result.text).toBe(tokenizer.decode([first!]));
  });

  it("stops before a stop string that lies across tokens, and leaks no part of it", async () => {
    const model = new ScriptedModel(encode("red.\n### Question: more"));
    const { chunks, result } = await collect(model, { stop: ["\n### Q", "zzz"] });
    expect(result).toMatchObject({ text: "red.", finishReason: "stop", stoppedBy: "\n### Q" });
    expect(chunks.map((chunk) => chunk.text).join("")).toBe("red.");
    expect(tokenizer.decode(result.tokenIds)).toContain("\n### Q");
  });

  it("gives a false start of a stop string at the end", async () => {
    const { chunks, result } = await collect(new ScriptedModel(encode("a ##")), { stop: "###" });
    expect(result).toMatchObject({ text: "a ##", finishReason: "stop", stoppedBy: EOS });
    expect(chunks.at(-1)).toEqual({ text: "##", tokenIds: [] });
  });

  it("streams whole characters, and U+FFFD for one that never ends", async () => {
    const ids = encode("é🤖");
    const whole = await collect(new ScriptedModel(ids));
    for (const { text } of whole.chunks) expect(text).not.toMatch(/\p{Surrogate}|\ufffd/u);
    expect(whole.result.text).toBe("é🤖");
    const cut = await collect(new ScriptedModel(ids), { maxTokens: ids.length - 1 });
    expect(cut.result).toMatchObject({ text: "é\ufffd", finishReason: "length" });
  });

  it("stops at maxTokens; 0 computes nothing", async () => {
    const model = new ScriptedModel(encode("one two three"));
    expect((await collect(model, { maxTokens: 2 })).result).toMatchObject({
      finishReason: "length",
      outputTokens: 2,
    });
    const idle = new ScriptedModel([]);
    expect((await collect(idle, { maxTokens: 0 })).result).toMatchObject({
      finishReason: "length",
      tokenIds: [],
    });
    expect(idle.fed).toEqual([]);
  });

  it("stops where the context ends, having used all of it", async () => {
    const model = new ScriptedModel(encode("one two three four"), 4);
    const { result } = await collect(model, {}, makeInput({ promptIds: [1, 5] }));
    expect(result).toMatchObject({ finishReason: "context", outputTokens: 3 });
    expect(model.remaining()).toBe(0);
  });

  it("returns what it has when aborted between tokens", async () => {
    const controller = new AbortController();
    const model = new ScriptedModel(encode("one two three four five"));
    const { result } = await collect(model, { signal: controller.signal }, makeInput(), () => {
      if (model.fed.length === 2) controller.abort();
    });
    expect(result).toMatchObject({ finishReason: "abort", outputTokens: 2 });
    expect(result.text).toBe(tokenizer.decode(result.tokenIds));
  });

  it("returns when aborted before or within the prompt", async () => {
    const idle = new ScriptedModel([]);
    const before = await collect(idle, { signal: AbortSignal.abort() });
    expect(before.result).toMatchObject({ finishReason: "abort", tokenIds: [], text: "" });
    expect(idle.fed).toEqual([]);

    const controller = new AbortController();
    const model = modelOf(() => {
      controller.abort();
      return Promise.reject(new TureenError("ABORTED", "the operation was aborted"));
    });
    const within = await collect(model, { signal: controller.signal });
    expect(within.result).toMatchObject({ finishReason: "abort", tokenIds: [] });
  });

  it("lets timers run beside a model that never waits", async () => {
    const slow = modelOf(() => {
      const end = performance.now() + 5;
      while (performance.now() < end);
      return Promise.resolve(new Float32Array(vocabSize));
    }, 1000);
    // Without a pause this would run for 5 s.
    const { result } = await collect(slow, { signal: AbortSignal.timeout(20), maxTokens: 1000 });
    expect(result.finishReason).toBe("abort");
    expect(result.outputTokens).toBeLessThan(200);
  });

  it("passes on what the model throws", async () => {
    const failure = new TureenError("BACKEND_FAILED", "a kernel trapped");
    const model = modelOf(() => Promise.reject(failure));
    await expect(collect(model)).rejects.toThrow("a kernel trapped");
  });

  it("counts prompt and context for the repetition penalty", async () => {
    const script = encode("one");
    const options = { repetitionPenalty: 100, maxTokens: 1 };
    const plain = await collect(new ScriptedModel(script), options);
    expect(plain.result.tokenIds).toEqual([script[0]]);
    for (const input of [{ promptIds: script }, { contextIds: script }]) {
      const { result } = await collect(
        new ScriptedModel(script),
        { ...options, logitBias: { 0: 1 } },
        makeInput(input),
      );
      expect(result.tokenIds).toEqual([0]);
    }
  });

  it("reports logprobs per token", async () => {
    const script = encode("one two");
    const { chunks, result } = await collect(new ScriptedModel(script), { logprobs: 2 });
    expect(result.logprobs).toHaveLength(result.tokenIds.length);
    expect(result.logprobs!.map((entry) => entry.token)).toEqual(result.tokenIds);
    expect(chunks[0]!.logprobs).toEqual([result.logprobs![0]]);
    expect(result.logprobs![0]!.top).toHaveLength(2);
  });

  it("gives the same tokens for the seed that it reports", async () => {
    const flat = (): StepModel => modelOf(async () => new Float32Array(vocabSize), 1000);
    const options = { temperature: 1, maxTokens: 20, ignoreEos: true };
    const { result } = await collect(flat(), options);
    const again = await collect(flat(), { ...options, seed: result.seed });
    expect(again.result.tokenIds).toEqual(result.tokenIds);
    const other = await collect(flat(), { ...options, seed: result.seed + 1 });
    expect(other.result.tokenIds).not.toEqual(result.tokenIds);
  });

  it("gives text that is all tokens' text up to the stop string, for any tokens", async () => {
    const ids = fc.array(fc.integer({ min: 3, max: 300 }), { maxLength: 30 });
    // None of these begins within another, so the first that begins is the first that completes.
    const stops = fc.uniqueArray(fc.constantFrom("e", "an", "\n", "Mi", "é", "\ufffd"), {
      maxLength: 3,
    });
    await fc.assert(
      fc.asyncProperty(ids, stops, async (script, stop) => {
        const { chunks, result } = await collect(new ScriptedModel(script), { stop });
        const full = tokenizer.decode(script);
        const starts = stop.map((text) => full.indexOf(text)).filter((i) => i >= 0);
        const expected = full.slice(0, Math.min(full.length, ...starts));
        expect(result.text).toBe(expected);
        expect(chunks.map((chunk) => chunk.text).join("")).toBe(expected);
        expect(typeof result.stoppedBy).toBe(starts.length > 0 ? "string" : "number");
      }),
      { numRuns: 200 },
    );
  });
});

describe("generateTokens refuses", () => {
  const cases: [string, GenerateOptions, Partial<GenerationInput>, string, RegExp][] = [
    ["an empty prompt", {}, { promptIds: [] }, "OPTION_INVALID", /prompt is empty/],
    [
      "a token beyond the vocabulary",
      {},
      { promptIds: [1, 768] },
      "TOKEN_OUT_OF_RANGE",
      /expected 0\.\.767, found 768 \(prompt position 1\)/,
    ],
    ["a token that is no id", {}, { promptIds: [1.5] }, "TOKEN_OUT_OF_RANGE", /found 1\.5/],
    [
      "a prompt beyond the context",
      {},
      { promptIds: new Array(11).fill(1) },
      "PROMPT_TOO_LONG",
      /expected at most 10 tokens, found 11.*larger contextLength/,
    ],
    ["maxTokens", { maxTokens: -1 }, {}, "OPTION_INVALID", /maxTokens.*found -1/],
    ["an empty stop string", { stop: "" }, {}, "OPTION_INVALID", /stop.*non-empty.*found ""/],
    ["half a character to stop at", { stop: ["\ud83d"] }, {}, "OPTION_INVALID", /stop/],
    ["a stop token", { stopTokens: [768] }, {}, "OPTION_INVALID", /stopTokens.*found 768/],
    ["a stop list", { stop: 7 as unknown as string }, {}, "OPTION_INVALID", /stop.*found 7/],
    ...(
      [
        ["tokens", { tokens: 16 }, /tokens.*1\.\.15.*found 16/],
        ["ngram", { ngram: 0 }, /ngram.*1\.\.8.*found 0/],
        ["itself", "on", /speculation.*found "on"/],
      ] as const
    ).map(([what, speculation, text]): (typeof cases)[number] => {
      const options = { speculation } as GenerateOptions;
      return [`speculation: ${what}`, options, {}, "OPTION_INVALID", text];
    }),
    [
      "ignoreEos",
      { ignoreEos: 1 as unknown as boolean },
      {},
      "OPTION_INVALID",
      /ignoreEos.*found 1/,
    ],
  ];
  it.each(cases)("%s", async (_, options, input, code, text) => {
    const model = new ScriptedModel([], 10);
    const error = await collect(model, options, makeInput(input)).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(TureenError);
    expect((error as TureenError).code).toBe(code);
    expect((error as TureenError).message).toMatch(text);
    expect(model.fed).toEqual([]);
  });
});
