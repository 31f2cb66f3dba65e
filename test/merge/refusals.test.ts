// Merges that must not happen, and what their errors say.
import { describe, expect, test } from "vitest";
import { TureenError } from "../../src/errors.ts";
import type { AdapterFactors, MergeInput, MergeOptions } from "../../src/soup/methods/method.ts";
import { findMergeMethod, MERGE_METHODS, mergeModule } from "../../src/soup/methods/methods.ts";
import { MERGE_OPTIONS } from "../../src/soup/methods/options.ts";
import { randomInput, toDense } from "./support.ts";

const input = randomInput(6, 5, [{ rank: 2 }, { rank: 2 }]);
const mixed = randomInput(6, 5, [{ rank: 2 }, { rank: 3 }]);

function change(changes: Partial<AdapterFactors>): MergeInput {
  return { ...input, factors: [input.factors[0]!, { ...input.factors[1]!, ...changes }] };
}

function failure(method: string, input: MergeInput, options?: object): string {
  try {
    mergeModule(method, input, options as MergeOptions);
  } catch (error) {
    if (error instanceof TureenError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("options", () => {
  test.each<[string, object]>([
    ["tise", {}],
    ["linear", { density: 0.5 }],
    ["ties", { desnity: 0.5 }],
    ["paper:linear", { foo: 1 }],
    ["ties", {}],
    ["ties", { density: 0 }],
    ["ties", { density: 1.01 }],
    ["ties", { density: Number.NaN }],
    ["ties", { density: "0.5" }],
    ["ties", { density: 0.5, majoritySign: "most" }],
    ["svd", { svdRank: 0 }],
    ["svd", { svdRank: 2.5 }],
    ["svd", { svdClamp: 0.5 }],
    ["svd", { compat: "mergekit" }],
    ["dare_linear", { density: 0.5, seed: -1 }],
    ["dare_linear", { density: 0.5, masks: 1 }],
    ["mergekit:ties", { lambda: Number.POSITIVE_INFINITY }],
    ["mergekit:ties", { normalize: 1 }],
    ["mergekit:ties", { density: 0.001 }],
    ["mergekit:breadcrumbs", { gamma: 1 }],
    ["mergekit:della", { density: 0.9 }],
    ["mergekit:della", { density: 0.1 }],
    ["mergekit:della", { density: 0.5, epsilon: 0.5 }],
    ["mergekit:sce", { selectTopk: 0 }],
    ["mergekit:sce", { density: 0.5 }],
    ["toString", {}],
    ["ties", { density: 0.5, constructor: 1 }],
  ])("%s with %o is refused", (method, options) => {
    const message = failure(method, input, options);
    expect(message).toMatch(/^OPTION_INVALID: /);
    expect(message).toMatchSnapshot();
  });
});

describe("inputs", () => {
  const nan = Float32Array.from(input.factors[1]!.a, (x, i) => (i === 3 ? Number.NaN : x));
  const infinite = Float32Array.from(input.factors[1]!.b, (x, i) => (i === 1 ? 1 / 0 : x));
  const short = input.factors[1]!.a.slice(1);
  const density = { density: 0.5 };

  test.each<[string, string, MergeInput, object, string]>([
    ["no adapters", "cat", { ...input, factors: [] }, {}, "SOUP_INVALID"],
    ["more than take part", "cat", { ...input, adapters: 1 }, {}, "SOUP_INVALID"],
    [
      "all weights 0",
      "cat",
      { ...input, factors: change({ weight: 0 }).factors.slice(1) },
      {},
      "SOUP_INVALID",
    ],
    ["a weight that is NaN", "linear", change({ weight: Number.NaN }), {}, "SOUP_INVALID"],
    ["an infinite scaling", "svd", change({ scaling: 1 / 0 }), {}, "SOUP_INVALID"],
    ["a short A", "cat", change({ a: short }), {}, "ADAPTER_MISMATCH"],
    [
      "a rank that B does not have",
      "cat",
      change({ rank: 1, a: short.slice(0, 5) }),
      {},
      "ADAPTER_MISMATCH",
    ],
    ["a rank of 2.5", "cat", change({ rank: 2.5 }), {}, "ADAPTER_MISMATCH"],
    ["a weight for sce", "mergekit:sce", change({ weight: 0.5 }), {}, "SOUP_INVALID"],
    [
      "an adapter's own density for PEFT",
      "ties",
      change({ density: 0.5 }),
      density,
      "OPTION_INVALID",
    ],
    [
      "an adapter's own gamma for ties",
      "mergekit:ties",
      change({ gamma: 0.5 }),
      {},
      "OPTION_INVALID",
    ],
    ["an adapter's own bad density", "mergekit:ties", change({ density: 2 }), {}, "OPTION_INVALID"],
    ["NaN", "cat", change({ a: nan }), {}, "WEIGHTS_NOT_FINITE"],
    ["infinity", "cat", change({ b: infinite }), {}, "WEIGHTS_NOT_FINITE"],
    ["overflow", "linear", change({ weight: 1e80 }), {}, "SOUP_INVALID"],
    ["overflow before an SVD", "svd", change({ weight: 1e300 }), {}, "SOUP_INVALID"],
    [
      "overflow of a delta before an SVD",
      "ties_svd",
      change({ weight: 1e300 }),
      density,
      "SOUP_INVALID",
    ],
  ])("%s: %s is refused", (_, method, bad, options, code) => {
    const message = failure(method, bad, options);
    expect(message.startsWith(`${code}: `), message).toBe(true);
    expect(message).toMatchSnapshot();
  });

  test.each(MERGE_METHODS.map(({ name }) => name))("%s refuses NaN and infinity", (method) => {
    const { options } = findMergeMethod(method);
    const given = options.includes("density") ? density : {};
    expect(failure(method, change({ a: nan }), given)).toMatch(/^WEIGHTS_NOT_FINITE/);
    expect(failure(method, change({ b: infinite }), given)).toMatch(/^WEIGHTS_NOT_FINITE/);
    expect(failure(method, change({ weight: Number.NaN }), given)).toMatch(/^SOUP_INVALID/);
  });

  test("a dense delta is refused when it is read", () => {
    const merged = mergeModule("mergekit:ties", change({ weight: 1e300 }), { normalize: false });
    expect(() => toDense(merged, input)).toThrow("too large for f32");
  });

  test.each(MERGE_METHODS.filter(({ needsEqualRanks }) => needsEqualRanks).map(({ name }) => name))(
    "%s refuses different ranks and says what works",
    (method) => {
      const options = findMergeMethod(method).options.includes("density") ? density : {};
      const message = failure(method, mixed, options);
      expect(message).toMatch(/^ADAPTER_MISMATCH: /);
      expect(message).toMatchSnapshot();
      const named = /Use (\S+), or cat/.exec(message)![1]!;
      expect(mergeModule(named, mixed, options).kind).toBe("low-rank");
      expect(mergeModule("cat", mixed).kind).toBe("low-rank");
    },
  );

  test("ranks of adapters without weight do not matter", () => {
    const weights = mixed.factors.map((factor, i) => ({ ...factor, weight: i }));
    expect(mergeModule("linear", { ...mixed, factors: weights })).toMatchObject({ rank: 3 });
  });
});

describe("the list of methods", () => {
  test("every method's options are known, and every option has a method", () => {
    const taken = new Set(MERGE_METHODS.flatMap(({ options }) => options));
    expect([...taken].sort()).toEqual([...MERGE_OPTIONS].sort());
    expect(new Set(MERGE_METHODS.map(({ name }) => name)).size).toBe(MERGE_METHODS.length);
    for (const { options, required } of MERGE_METHODS) {
      expect(options).toEqual(expect.arrayContaining([...required]));
    }
  });

  test("every method gives the kind of result that it announces", () => {
    for (const method of MERGE_METHODS) {
      const density = method.options.includes("density") ? { density: 0.5 } : {};
      expect(mergeModule(method, input, density).kind, method.name).toBe(method.result);
      if (!method.options.includes("svdRank")) continue;
      const cut = mergeModule(method, input, { ...density, svdRank: 2 });
      expect(cut, method.name).toMatchObject({ kind: "low-rank", rank: 2 });
    }
  });
});
