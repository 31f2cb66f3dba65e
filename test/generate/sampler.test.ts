import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TureenError } from "../../src/errors.ts";
import type { SamplingOptions } from "../../src/generate/options.ts";
import { Sampler } from "../../src/generate/sampler.ts";

/** The documented meaning, written for reading: f32 scores, full sort, host's exp. Returns each token's probability. */
function naiveProbabilities(
  logits: Float32Array,
  options: SamplingOptions,
  prompt: readonly number[] = [],
  output: readonly number[] = [],
): number[] {
  const scores = logits.slice();
  for (const [id, bias] of Object.entries(options.logitBias ?? {})) scores[Number(id)]! += bias;
  const penalty = options.repetitionPenalty ?? 1;
  for (const id of new Set([...prompt, ...output])) {
    scores[id] = scores[id]! > 0 ? scores[id]! / penalty : scores[id]! * penalty;
  }
  for (const id of new Set(output)) {
    const count = output.filter((x) => x === id).length;
    scores[id]! -= (options.presencePenalty ?? 0) + (options.frequencyPenalty ?? 0) * count;
  }
  const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
  if (!options.temperature) return Array.from(scores, (_, id) => (id === order[0] ? 1 : 0));
  const max = scores[order[0]!]!;
  let kept = order.map((id) => ({
    id,
    weight: Math.exp((scores[id]! - max) / options.temperature!),
  }));
  if (options.topK) kept = kept.slice(0, options.topK);
  const total = kept.reduce((sum, { weight }) => sum + weight, 0);
  if ((options.topP ?? 1) < 1) {
    let sum = 0;
    const end = kept.findIndex(({ weight }) => {
      sum += weight;
      return sum >= options.topP! * total;
    });
    if (end >= 0) kept = kept.slice(0, end + 1);
  }
  kept = kept.filter(({ weight }) => weight >= (options.minP ?? 0));
  const mass = kept.reduce((sum, { weight }) => sum + weight, 0);
  const probabilities = new Array<number>(scores.length).fill(0);
  for (const { id, weight } of kept) probabilities[id] = weight / mass;
  return probabilities;
}

const optionsArbitrary: fc.Arbitrary<SamplingOptions> = fc.record({
  temperature: fc.constantFrom(0, 0.3, 1, 2.5),
  topK: fc.constantFrom(0, 1, 3, 500),
  topP: fc.constantFrom(0.05, 0.5, 0.9, 1),
  minP: fc.constantFrom(0, 0.01, 0.2),
  repetitionPenalty: fc.constantFrom(0.7, 1, 1.3),
  presencePenalty: fc.constantFrom(-0.5, 0, 0.5),
  frequencyPenalty: fc.constantFrom(0, 0.25),
  seed: fc.nat(),
  logitBias: fc.constantFrom({}, { 0: 3, 2: Number.NEGATIVE_INFINITY }),
});
const logitsArbitrary = fc
  .array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 3, maxLength: 300 })
  .map((list) => Float32Array.from(list));
const tokensArbitrary = fc.array(fc.nat(2), { maxLength: 4 });

function makeSampler(
  options: SamplingOptions,
  vocabSize: number,
  prompt: readonly number[] = [],
  output: readonly number[] = [],
): Sampler {
  const sampler = new Sampler(options, vocabSize);
  sampler.observe(prompt);
  for (const token of output) sampler.accept(token);
  return sampler;
}

describe("Sampler", () => {
  it("draws only tokens that the naive filters keep", () => {
    fc.assert(
      fc.property(
        logitsArbitrary,
        optionsArbitrary,
        tokensArbitrary,
        tokensArbitrary,
        (logits, options, prompt, output) => {
          const expected = naiveProbabilities(logits, options, prompt, output);
          const sampler = makeSampler(options, logits.length, prompt, output);
          for (let i = 0; i < 20; i++) {
            const { token } = sampler.sample(logits);
            // A probability at a threshold may fall on either side of it by one rounding.
            const nudged = { ...options, topP: Math.min(1, (options.topP ?? 1) + 1e-6) };
            const allowed =
              expected[token]! > 0 ||
              naiveProbabilities(logits, nudged, prompt, output)[token]! > 0;
            expect(allowed).toBe(true);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("draws each token as often as its probability says (chi-squared, p = 1e-6, 12 settings, fixed seeds)", () => {
    const logits = Float32Array.from([0.5, 2, -1, 1.5, 1.5, 0, -3, 2.5, 1, -0.5]);
    const settings: SamplingOptions[] = [];
    for (const filter of [
      {},
      { topK: 4 },
      { topP: 0.8 },
      { minP: 0.1 },
      { topK: 6, topP: 0.9 },
      { topP: 0.9, minP: 0.2 },
    ]) {
      for (const temperature of [0.7, 1.6])
        settings.push({ ...filter, temperature, seed: settings.length });
    }
    expect(settings).toHaveLength(12);
    const draws = 20_000;
    for (const options of settings) {
      const expected = naiveProbabilities(logits, options);
      const counts = new Array<number>(logits.length).fill(0);
      const sampler = new Sampler(options, logits.length);
      for (let i = 0; i < draws; i++) counts[sampler.sample(logits).token]! += 1;
      let chi = 0;
      for (const [id, p] of expected.entries()) {
        if (p === 0) expect(counts[id]).toBe(0);
        else chi += (counts[id]! - draws * p) ** 2 / (draws * p);
      }
      // 9 degrees of freedom or fewer: the 1 - 1e-6 quantile is 45.1.
      expect(chi).toBeLessThan(45.1);
    }
  });

  it("gives the same tokens for the same seed, and others for another", () => {
    const logits = Float32Array.from({ length: 1000 }, (_, i) =>
      Math.fround(Math.abs((i * 7919) % 1000) / 500),
    );
    const run = (seed: number): number[] => {
      const sampler = new Sampler({ temperature: 1, seed }, logits.length);
      return Array.from({ length: 20 }, () => sampler.sample(logits).token);
    };
    expect(run(7)).toEqual(run(7));
    expect(run(7)).not.toEqual(run(8));
    const drawn = new Sampler({ temperature: 1 }, logits.length);
    const tokens = Array.from({ length: 20 }, () => drawn.sample(logits).token);
    expect(run(drawn.seed)).toEqual(tokens);
  });

  it("gives these tokens on every host", () => {
    const logits = Float32Array.from({ length: 500 }, (_, i) => ((i * 37) % 101) / 12);
    const run = (options: SamplingOptions): number[] => {
      const sampler = new Sampler({ temperature: 0.9, seed: 2026, ...options }, logits.length);
      return Array.from({ length: 12 }, () => sampler.sample(logits).token);
    };
    expect({
      all: run({}),
      topK: run({ topK: 40 }),
      topP: run({ topP: 0.9 }),
      minP: run({ minP: 0.05 }),
    }).toMatchInlineSnapshot(`
      {
        "all": [
          120,
          19,
          412,
          177,
          210,
          191,
          412,
          352,
          281,
          229,
          131,
          19,
        ],
        "minP": [
          122,
          19,
          412,
          177,
          210,
          191,
          412,
          352,
          281,
          229,
          131,
          19,
        ],
        "topK": [
          262,
          30,
          8,
          90,
          393,
          191,
          8,
          453,
          322,
          494,
          262,
          30,
        ],
        "topP": [
          120,
          19,
          412,
          177,
          210,
          191,
          412,
          352,
          281,
          229,
          131,
          19,
        ],
      }
    `);
  });

  it("is greedy at temperature 0, with the lowest id among equals", () => {
    const sampler = new Sampler({}, 5);
    expect(sampler.sample(Float32Array.of(1, 3, 2, 3, 0))).toEqual({ token: 1 });
    expect(sampler.sample(Float32Array.of(-1, -1, -1, -1, -1))).toEqual({ token: 0 });
  });

  it("keeps exactly k of equal tokens, the lowest ids", () => {
    const logits = new Float32Array(50);
    const sampler = new Sampler({ temperature: 1, topK: 3, seed: 1 }, 50);
    const tokens = new Set(Array.from({ length: 200 }, () => sampler.sample(logits).token));
    expect([...tokens].sort()).toEqual([0, 1, 2]);
  });

  it("keeps the best token under any filter", () => {
    fc.assert(
      fc.property(logitsArbitrary, fc.integer({ min: 1, max: 999 }), (logits, x) => {
        const best = logits.indexOf(Math.max(...logits));
        for (const options of [{ topK: 1 }, { topP: 1e-9 }, { minP: 1, topK: 1 }]) {
          const sampler = new Sampler({ temperature: x / 100, seed: x, ...options }, logits.length);
          expect(sampler.sample(logits).token).toBe(best);
        }
      }),
    );
  });

  it("finds the nucleus of 2000 equal tokens, the lowest ids", () => {
    const sampler = new Sampler({ temperature: 1, topP: 0.5, seed: 3 }, 2000);
    const logits = new Float32Array(2000);
    const tokens = Array.from({ length: 3000 }, () => sampler.sample(logits).token);
    expect(Math.max(...tokens)).toBeLessThan(1000);
    expect(Math.max(...tokens)).toBeGreaterThan(950);
  });

  it("does not change the logits, nor draw what they exclude", () => {
    const logits = Float32Array.of(Number.NEGATIVE_INFINITY, 1, 2, Number.NEGATIVE_INFINITY);
    const before = logits.slice();
    for (const filter of [{}, { topK: 3 }, { topP: 0.999 }]) {
      const options = { temperature: 5, presencePenalty: 1, seed: 1, ...filter };
      const sampler = makeSampler(options, 4, [], [1]);
      const tokens = new Set(Array.from({ length: 100 }, () => sampler.sample(logits).token));
      expect([...tokens].sort()).toEqual([1, 2]);
    }
    expect(logits).toEqual(before);
  });

  it("samples at a temperature so low that only the best is left", () => {
    const sampler = new Sampler({ temperature: 1e-300, topP: 0.5, seed: 1 }, 3);
    expect(sampler.sample(Float32Array.of(1, 1.0001, 1)).token).toBe(1);
  });
});

describe("logprobs", () => {
  it("are of the model's own distribution, whatever is done to it", () => {
    const logits = Float32Array.of(0, 1, 2, 3);
    const total = Math.log(1 + Math.E + Math.E ** 2 + Math.E ** 3);
    const sampler = new Sampler(
      { logprobs: 2, logitBias: { 0: 100 }, temperature: 0.1, seed: 1 },
      4,
    );
    const { token, logprob, top } = sampler.sample(logits);
    expect(token).toBe(0);
    // Two roundings of numbers below 4.
    expect(Math.abs(logprob! + total)).toBeLessThan(1e-14);
    expect(top!.map((entry) => entry.token)).toEqual([3, 2]);
    expect(Math.abs(top![0]!.logprob - (3 - total))).toBeLessThan(1e-14);
  });

  it("come without alternatives if none are asked for", () => {
    const sampled = new Sampler({ logprobs: 0 }, 2).sample(Float32Array.of(0, 0));
    expect(Object.keys(sampled)).toEqual(["token", "logprob"]);
    expect(sampled.logprob).toBeCloseTo(-Math.LN2, 14);
  });

  it("sum to 1 over the whole vocabulary", () => {
    fc.assert(
      fc.property(logitsArbitrary, (logits) => {
        const sampler = new Sampler({ logprobs: logits.length }, logits.length);
        const sum = sampler
          .sample(logits)
          .top!.reduce((s, { logprob }) => s + Math.exp(logprob), 0);
        // 300 terms, each wrong by at most 2^-50 of itself.
        expect(Math.abs(sum - 1)).toBeLessThan(300 * 2 ** -50);
      }),
    );
  });
});

describe("Sampler refuses", () => {
  const { NaN: nan, POSITIVE_INFINITY: inf, NEGATIVE_INFINITY: minus } = Number;
  it.each<[string, number[], RegExp]>([
    [
      "NaN",
      [0, nan, 1],
      /logits are not finite: expected numbers below infinity, found NaN for token 1/,
    ],
    ["NaN in the first place", [nan, 0, 1], /found NaN for token 0/],
    ["infinity", [0, 1, inf], /found Infinity for token 2/],
    ["nothing to choose from", [minus, minus, minus], /found -Infinity for every token/],
  ])("%s", (_, logits, text) => {
    for (const temperature of [0, 1]) {
      const sampler = new Sampler({ temperature, seed: 1 }, 3);
      const error = catchError(() => sampler.sample(Float32Array.from(logits)));
      expect(error.code).toBe("LOGITS_NOT_FINITE");
      expect(error.message).toMatch(text);
    }
  });

  it.each<[string, Record<number, number>]>([
    ["biases that exclude every token", { 0: minus, 1: minus, 2: minus }],
    ["a bias beyond 32-bit floats", { 0: 1e39 }],
  ])("%s", (_, logitBias) => {
    const sampler = new Sampler({ logitBias }, 3);
    expect(catchError(() => sampler.sample(new Float32Array(3))).code).toBe("OPTION_INVALID");
  });

  it.each<[Record<string, unknown>, RegExp]>([
    [
      { temperature: -1 },
      /option temperature is invalid: expected a number of 0 or more, found -1/,
    ],
    [{ temperature: nan }, /temperature.*found NaN/],
    [{ temperature: "1" }, /temperature.*found "1"/],
    [{ topK: 1.5 }, /topK.*whole number.*found 1\.5/],
    [{ topP: 0 }, /topP.*above 0.*found 0/],
    [{ topP: 1.1 }, /topP.*found 1\.1/],
    [{ minP: -0.1 }, /minP.*found -0\.1/],
    [{ repetitionPenalty: 0 }, /repetitionPenalty.*above 0, found 0/],
    [{ presencePenalty: inf }, /presencePenalty.*found Infinity/],
    [{ frequencyPenalty: null }, /frequencyPenalty.*found null/],
    [{ seed: -1 }, /seed.*found -1/],
    [{ seed: 2 ** 53 }, /seed.*found 9007199254740992/],
    [{ logitBias: { 9: 1 } }, /logitBias.*token ids in 0\.\.2, found "9"/],
    [{ logitBias: { x: 1 } }, /logitBias.*found "x"/],
    [{ logitBias: { 1: nan } }, /logitBias\[1\].*found NaN/],
    [{ logitBias: [1] }, /logitBias.*object/],
    [{ logprobs: 4 }, /logprobs.*0\.\.3, found 4/],
  ])("%o", (options, text) => {
    const error = catchError(() => new Sampler(options, 3));
    expect(error.code).toBe("OPTION_INVALID");
    expect(error.message).toMatch(text);
  });
});

function catchError(run: () => unknown): TureenError {
  try {
    run();
  } catch (error) {
    if (error instanceof TureenError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
