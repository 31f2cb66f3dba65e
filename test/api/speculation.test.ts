// Tokens run ahead on real models: caches go back exactly, alone and in batches.
import { afterEach, describe, expect, test, vi } from "vitest";
import { PassCosts } from "../../src/generate/speculator.ts";
import type { GeneratedText, GenerateTextOptions } from "../../src/index.ts";
import { BACKENDS, loadKitchen, QUESTION } from "../support/kitchen.ts";

/** All but how long it took. */
function essence({ timings: _, ...rest }: GeneratedText): Omit<GeneratedText, "timings"> {
  return rest;
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe.each(BACKENDS)("on $backend", (options) => {
  test("the same tokens and log probabilities, in fewer passes", async () => {
    // whatever is expected is run, so that what is tested does not depend on this machine's speed
    vi.spyOn(PassCosts.prototype, "of").mockReturnValue(1);
    const model = await loadKitchen(options);
    const again = `${QUESTION} Daxpel carries a ladder. `.repeat(2);
    const requests: [string, GenerateTextOptions][] = [
      [again, { seed: 1 }],
      [again, { seed: 2, temperature: 0.7 }],
      // a text of few tokens repeats itself
      [again, { seed: 5, logitBias: { 40: 90, 41: 90, 42: 90 } }],
      [QUESTION, { seed: 3, soup: { knowledge: 1, format: 1 }, repetitionPenalty: 1.1 }],
      [QUESTION.repeat(3), { seed: 4, soup: { format: 1 }, temperature: 0.3 }],
    ];
    const generate = ([prompt, own]: (typeof requests)[number], speculation: boolean) => {
      const common = { speculation, maxTokens: 40, ignoreEos: true, logprobs: 1 };
      return model.generate(prompt, { ...own, ...common }).result();
    };
    const plain: GeneratedText[] = [];
    const ahead: GeneratedText[] = [];
    for (const request of requests) plain.push(await generate(request, false));
    for (const request of requests) ahead.push(await generate(request, true));
    expect(ahead.map(essence)).toEqual(plain.map(essence));
    const passes = (texts: readonly GeneratedText[]): number =>
      texts.reduce((sum, { timings }) => sum + timings.passes, 0);
    expect(passes(plain)).toBe(5 * 40);
    expect(passes(ahead)).toBeLessThan(0.85 * passes(plain));
    const together = await Promise.all(requests.map((request) => generate(request, true)));
    expect(together.map(essence)).toEqual(plain.map(essence));
    await model.dispose();
  });

  test("a conversation goes on in the cache that running ahead leaves behind", async () => {
    vi.spyOn(PassCosts.prototype, "of").mockReturnValue(1);
    const model = await loadKitchen(options);
    const session = model.createSession();
    const first = model.tokenize(QUESTION.repeat(3));
    const run = (prompt: readonly number[], speculation: boolean, where = session) => {
      const how = {
        session: where,
        maxTokens: 24,
        ignoreEos: true,
        logprobs: 1,
        speculation,
        seed: 1,
      };
      return model.generate(prompt, how).result();
    };
    const one = await run(first, true);
    expect(session.tokens).toEqual([...first, ...one.tokenIds.slice(0, -1)]);
    const longer = [...first, ...one.tokenIds, ...model.tokenize(QUESTION)];
    const two = await run(longer, true);
    expect(two.timings.cachedTokens).toBe(first.length + one.tokenIds.length - 1);
    expect(essence(two)).toEqual(essence(await run(longer, false, model.createSession())));
    await model.dispose();
  });
});
