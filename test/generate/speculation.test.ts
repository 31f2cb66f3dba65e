// Running expected tokens ahead must show in the number of passes alone.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type GenerationChunk,
  type GenerationResult,
  generateTokens,
  type StepModel,
} from "../../src/generate/generate.ts";
import { Lookup } from "../../src/generate/lookup.ts";
import type { GenerateOptions } from "../../src/generate/options.ts";
import { PassCosts, Speculator } from "../../src/generate/speculator.ts";

const vocabSize = 11;
const EOS = 10;

/** Tokens ahead cost nothing, so whatever is expected is run. */
class FreeCosts extends PassCosts {
  override of(): number {
    return 1;
  }
}

/** Logits are a function of the last two tokens and of a weight that may change: texts soon repeat themselves. */
class MarkovModel implements StepModel {
  readonly context: number[] = [];
  readonly #length: number;
  weight = 0;
  #weightOfPass = 0;

  constructor(length: number) {
    this.#length = length;
  }

  async forward(ids: readonly number[], rows: number): Promise<Float32Array> {
    expect(ids.length).toBeLessThanOrEqual(this.remaining());
    this.#weightOfPass = this.weight;
    this.context.push(...ids);
    const logits = new Float32Array(rows * vocabSize);
    for (let row = 0; row < rows; row++) {
      const end = this.context.length - rows + row;
      const [a = 0, b = 0] = [this.context[end - 1], this.context[end]];
      for (let id = 0; id < vocabSize; id++) {
        const hash = ((a + 3) * 7919 + (b + 5) * 104729 + (id + 1) * 1299709 + this.weight) % 997;
        logits[row * vocabSize + id] = (4 * hash) / 997 - (id === EOS ? 1 : 0);
      }
    }
    return logits;
  }

  takeBack(n: number): void {
    this.context.length -= n;
  }

  isCurrent(): boolean {
    return this.weight === this.#weightOfPass;
  }

  remaining(): number {
    return this.#length - this.context.length;
  }
}

interface Run {
  readonly chunks: readonly GenerationChunk[];
  readonly result: GenerationResult;
  readonly context: readonly number[];
}

async function run(
  promptIds: readonly number[],
  options: GenerateOptions,
  { length = 200, changeAt = -1, abortAt = -1, leaveAt = -1 } = {},
): Promise<Run> {
  const model = new MarkovModel(length);
  const controller = new AbortController();
  const decoder = { push: (id: number) => `${"abcdefghij!"[id]}`, flush: () => "" };
  const input = { promptIds, vocabSize, eosTokenIds: [EOS], decoder, costs: new FreeCosts() };
  const tokens = generateTokens(model, input, { ...options, signal: controller.signal });
  const chunks: GenerationChunk[] = [];
  for (;;) {
    const next = await tokens.next();
    if (next.done === true) return { chunks, result: next.value, context: model.context };
    chunks.push(next.value);
    if (chunks.length === changeAt) model.weight = 500;
    if (chunks.length === abortAt) controller.abort();
    if (chunks.length === leaveAt) {
      await tokens.return(undefined as never);
      return { chunks, result: {} as GenerationResult, context: model.context };
    }
  }
}

/** All but the number of passes. */
function essence({ chunks, result: { passes: _, ...result }, context }: Run): object {
  return { chunks, result, context };
}

describe("the text is the same", () => {
  const prompts = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 30 });
  const options = fc.record(
    {
      seed: fc.integer({ min: 0, max: 1000 }),
      temperature: fc.constantFrom(0, 0, 0.5, 1.5),
      topK: fc.constantFrom(0, 3),
      topP: fc.constantFrom(1, 0.8),
      minP: fc.constantFrom(0, 0.1),
      repetitionPenalty: fc.constantFrom(1, 1.3),
      presencePenalty: fc.constantFrom(0, 0.4),
      frequencyPenalty: fc.constantFrom(0, 0.1),
      maxTokens: fc.integer({ min: 0, max: 120 }),
      stop: fc.constantFrom([], ["ab"], ["ijk", "hh"]),
      stopTokens: fc.constantFrom([], [4]),
      ignoreEos: fc.boolean(),
      logprobs: fc.constantFrom(0, 2),
    },
    { requiredKeys: ["seed"] },
  );
  const speculation = fc.record({
    tokens: fc.integer({ min: 1, max: 15 }),
    ngram: fc.integer({ min: 1, max: 8 }),
  });
  const events = fc.record({
    length: fc.integer({ min: 31, max: 200 }),
    changeAt: fc.integer({ min: -1, max: 20 }),
    abortAt: fc.constantFrom(-1, -1, -1, 1, 7, 30),
    leaveAt: fc.constantFrom(-1, -1, -1, 1, 2, 11),
  });

  test("for any prompt, options and events", async () => {
    let [saved, plainPasses] = [0, 0];
    await fc.assert(
      fc.asyncProperty(prompts, options, speculation, events, async (ids, how, ahead, when) => {
        const plain = await run(ids, { ...how, speculation: false }, when);
        const fast = await run(ids, { ...how, speculation: ahead }, when);
        expect(essence(fast)).toEqual(essence(plain));
        if (when.leaveAt >= 0) return;
        plainPasses += plain.result.passes ?? 0;
        saved += (plain.result.passes ?? 0) - (fast.result.passes ?? 0);
      }),
      { numRuns: 500 },
    );
    // and not because nothing was run ahead
    expect(saved).toBeGreaterThan(plainPasses / 10);
  });
});

test("passes are saved on a text that repeats itself", async () => {
  const options = { maxTokens: 160, ignoreEos: true, seed: 1 };
  const plain = await run([1, 2, 3], { ...options, speculation: false });
  const fast = await run([1, 2, 3], options);
  expect(plain.result.passes).toBe(160);
  // a greedy text over two tokens of context ends in a cycle: most passes then give 16 tokens
  expect(fast.result.passes).toBeLessThan(40);
  expect(fast.result.tokenIds).toEqual(plain.result.tokenIds);
});

describe("lookup", () => {
  test("expects what followed the longest agreement, the latest among equals", () => {
    const lookup = new Lookup(2);
    lookup.begin([1, 2, 3, 4, 9, 2, 3, 5, 8, 1, 2, 3]);
    expect(lookup.guess(3)).toEqual([4, 9, 2]); // 1 2 3 agrees; 2 3 alone came later
    lookup.push(4);
    expect(lookup.guess(2)).toEqual([9, 2]);
    lookup.push(7); // not as expected, and 7 is new
    expect(lookup.guess(2)).toEqual([]);
    expect(lookup.chance).toBe(0);
    lookup.push(2);
    expect(lookup.guess(1)).toEqual([]);
    lookup.push(3);
    expect(lookup.guess(1)).toEqual([4]);
  });

  test("a repetition goes on past the text's end", () => {
    const lookup = new Lookup(2);
    lookup.begin([5, 1, 2, 1, 2]);
    expect(lookup.guess(5)).toEqual([1, 2, 1, 2, 1]);
  });

  test("trust grows and falls with what comes true", () => {
    const lookup = new Lookup(1);
    lookup.begin([1, 2, 1]);
    const before = lookup.chance;
    for (let i = 0; i < 20; i++) lookup.push(i % 2 === 0 ? 2 : 1);
    expect(lookup.chance).toBeGreaterThan(0.95);
    expect(before).toBeLessThan(0.5);
    const wrong = new Lookup(1);
    wrong.begin([1, 2, 1]);
    for (let i = 3; i < 20; i++) for (const token of [i, 1]) wrong.push(token);
    expect(wrong.chance).toBeLessThan(0.05);
  });
});

describe("what is run ahead", () => {
  const options = { tokens: 15, ngram: 2 };
  const period = Array.from({ length: 64 }, (_, i) => i % 4);
  const speculate = (costs: PassCosts): Speculator => {
    const speculator = new Speculator(options, costs);
    speculator.begin(period.slice(0, 8));
    for (const token of period.slice(8)) speculator.push(token);
    return speculator;
  };

  test("more where passes over several tokens are cheap, nothing where they cost as much as one by one", () => {
    const cheap = new PassCosts();
    cheap.observe(1, 10);
    cheap.observe(4, 11);
    expect(speculate(cheap).guess(100)).toEqual(period.slice(0, 15));
    expect(speculate(cheap).guess(5)).toEqual(period.slice(0, 5));
    expect(speculate(cheap).guess(0)).toEqual([]);
    const dear = new PassCosts();
    dear.observe(1, 10);
    dear.observe(4, 40);
    expect(speculate(dear).guess(100)).toEqual([]);
    // a measurement that was bad luck is not believed for ever
    for (let i = 0; i < 2000; i++) dear.observe(1, 10);
    expect(speculate(dear).guess(100).length).toBeGreaterThan(0);
  });

  test("nothing where the text does not repeat itself, nothing without the option", () => {
    const speculator = new Speculator(options, new PassCosts());
    speculator.begin([1, 2, 3, 1, 9]);
    for (let i = 10; i < 40; i++) {
      speculator.push(i);
      expect(speculator.guess(8)).toEqual([]);
    }
    const off = new Speculator(undefined, new FreeCosts());
    off.begin(period);
    expect(off.guess(8)).toEqual([]);
  });
});
