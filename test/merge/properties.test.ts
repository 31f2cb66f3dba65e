// What must hold for merges of any adapters: sums are sums, order and absent adapters do not matter, edges are identities.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MergeInput, MergeMethod, MergeOptions } from "../../src/soup/methods/method.ts";
import { MERGE_METHODS } from "../../src/soup/methods/methods.ts";
import { EPS, expectClose, maxAbs } from "../support/values.ts";
import { denseSum, lowRank, mergeDense, randomInput, withWeights } from "./support.ts";

const adapter = (rank: fc.Arbitrary<number>, weight: fc.Arbitrary<number>) =>
  fc.record({ rank, weight, scaling: fc.constantFrom(0.25, 1, 2, 3.5) });

const anyWeight = fc.constantFrom(-1.5, -0.3, 0.2, 0.7, 1, 2);

function inputs({
  ranks = fc.integer({ min: 1, max: 6 }),
  weights = anyWeight,
  min = 1,
}: {
  ranks?: fc.Arbitrary<number>;
  weights?: fc.Arbitrary<number>;
  min?: number;
} = {}): fc.Arbitrary<MergeInput> {
  return fc
    .record({
      rows: fc.integer({ min: 1, max: 24 }),
      cols: fc.integer({ min: 1, max: 24 }),
      adapters: fc.array(adapter(ranks, weights), { minLength: min, maxLength: 4 }),
      seed: fc.integer({ min: 1, max: 1e6 }),
    })
    .map(({ rows, cols, adapters, seed }) => randomInput(rows, cols, adapters, seed));
}

const equalRanks = (options: { weights?: fc.Arbitrary<number>; min?: number } = {}) =>
  fc.integer({ min: 1, max: 5 }).chain((rank) => inputs({ ...options, ranks: fc.constant(rank) }));

/** What a method needs to be given, with nothing pruned. */
function wholeOptions(method: MergeMethod): MergeOptions {
  const density = method.options.includes("density") ? { density: 1 } : {};
  const svdRank = method.options.includes("svdRank") ? { svdRank: 24 } : {};
  return { ...density, ...svdRank };
}

/** A bound on roundings to f32 at the scale of the largest sum, through an SVD. */
const bound = (input: MergeInput): number => 64 * EPS * denseSum(input).magnitude;

const numRuns = 60;

describe("properties", () => {
  test("cat equals the dense sum", () => {
    fc.assert(
      fc.property(inputs(), (input) => {
        const { sum, magnitude } = denseSum(input);
        // w s A is rounded, and the product.
        expectClose(mergeDense("cat", input), sum, 2 * EPS * magnitude);
      }),
      { numRuns },
    );
  });

  test("svd at full rank equals cat", () => {
    fc.assert(
      fc.property(inputs(), (input) => {
        const merged = lowRank("svd", input, { svdRank: 24 });
        expect(merged.relativeError).toBe(0);
        expectClose(
          mergeDense("svd", input, { svdRank: 24 }),
          mergeDense("cat", input),
          bound(input),
        );
      }),
      { numRuns },
    );
  });

  test.each(MERGE_METHODS.map((method) => [method.name, method] as const))(
    "%s: one-hot weights give back the single adapter",
    (name, method) => {
      fc.assert(
        fc.property(equalRanks({ min: 2 }), fc.nat(), (input, pick) => {
          const at = pick % input.factors.length;
          const weights = input.factors.map((_, i) => (i === at ? 1 : 0));
          const hot = withWeights(input, weights);
          const only = { ...hot, factors: hot.factors.filter(({ weight }) => weight === 1) };
          // PEFT's methods leave a single adapter whole; mergekit's prune it.
          const options =
            method.convention === "peft" && method.options.includes("density")
              ? { density: 0.4 }
              : wholeOptions(method);
          expectClose(mergeDense(name, hot, options), mergeDense("cat", only), bound(hot));
        }),
        { numRuns: 20 },
      );
    },
  );

  test.each(MERGE_METHODS.map((method) => [method.name, method] as const))(
    "%s: the order of adapters does not matter",
    (name, method) => {
      fc.assert(
        fc.property(equalRanks({ weights: fc.constant(1), min: 2 }), (input) => {
          const weights = input.factors.map((_, i) =>
            method.ignoresWeights ? 1 : [0.7, 1.3, 0.4, 1.1][i]!,
          );
          const weighted = withWeights(input, weights);
          const indexed = {
            ...weighted,
            factors: weighted.factors.map((factor, index) => ({ ...factor, index })),
          };
          const reversed = { ...indexed, factors: [...indexed.factors].reverse() };
          const options = {
            ...wholeOptions(method),
            ...(method.options.includes("density") ? { density: 0.5 } : {}),
          };
          // A density of a tensor with one element may keep none.
          if (input.rows * input.cols < 2) return;
          const merged = mergeDense(name, indexed, options);
          // Masks and elections are the same; sums run in another order. Normalised divisors are at least 0.4.
          const allowed = 4 * bound(indexed) + 64 * EPS * maxAbs(merged);
          expectClose(mergeDense(name, reversed, options), merged, allowed);
        }),
        { numRuns: 20 },
      );
    },
  );

  test("density 1 makes magnitude_prune and dare_linear equal linear, and their svds equal cat", () => {
    fc.assert(
      fc.property(equalRanks(), (input) => {
        for (const method of ["magnitude_prune", "dare_linear"]) {
          expect(lowRank(method, input, { density: 1 })).toEqual(lowRank("linear", input));
          expectClose(
            mergeDense(`${method}_svd`, input, { density: 1, svdRank: 24 }),
            mergeDense("cat", input),
            bound(input),
          );
        }
      }),
      { numRuns },
    );
  });

  test("density 1 makes dare_ties equal ties", () => {
    fc.assert(
      fc.property(equalRanks({ min: 2 }), (input) => {
        expect(lowRank("dare_ties", input, { density: 1 })).toEqual(
          lowRank("ties", input, { density: 1 }),
        );
      }),
      { numRuns },
    );
  });

  test("density 1 makes ties of adapters that agree their mean, and mergekit's the weighted mean", () => {
    fc.assert(
      fc.property(equalRanks({ min: 2, weights: fc.constantFrom(0.5, 1, 2) }), (input) => {
        // The same adapter again and again: all signs agree.
        const { a, b, scaling } = input.factors[0]!;
        const same = {
          ...input,
          factors: input.factors.map((factor) => ({ ...factor, a, b, scaling })),
        };
        const total = same.factors.reduce((sum, { weight }) => sum + weight, 0);
        const sum = mergeDense("cat", same);
        const options = { density: 1, svdRank: 24 };
        const mean = sum.map((x) => x / same.factors.length);
        expectClose(mergeDense("ties_svd", same, options), mean, bound(same));
        const weightedMean = sum.map((x) => x / total);
        expectClose(mergeDense("mergekit:ties", same, { density: 1 }), weightedMean, bound(same));
      }),
      { numRuns },
    );
  });

  test("density 1 makes mergekit's dare_linear and breadcrumbs equal cat", () => {
    fc.assert(
      fc.property(inputs(), (input) => {
        for (const method of ["dare_linear", "della_linear", "breadcrumbs", "task_arithmetic"]) {
          const options = method === "task_arithmetic" ? {} : { density: 1 };
          const merged = mergeDense(`mergekit:${method}`, input, options);
          expectClose(merged, mergeDense("cat", input), bound(input));
        }
      }),
      { numRuns },
    );
  });

  test("linear of equal factors has the cross terms that it is said to have", () => {
    const input = randomInput(6, 5, [
      { rank: 2, weight: 0.7, scaling: 2 },
      { rank: 2, weight: -0.4, scaling: 3 },
    ]);
    const [x, y] = input.factors as [(typeof input.factors)[0], (typeof input.factors)[0]];
    const [u, v] = [0.7 * 2, 0.4 * 3];
    // A = √u A_x - √v A_y, B = √u B_x + √v B_y
    const one = (b: typeof x, a: typeof x): MergeInput => ({
      ...input,
      factors: [{ ...b, a: a.a, scaling: 1, weight: 1 }],
    });
    const parts = [one(x, x), one(y, x), one(x, y), one(y, y)].map((p) => denseSum(p).sum);
    const factors = [u, Math.sqrt(u * v), -Math.sqrt(u * v), -v];
    const expected = parts[0]!.map((_, i) =>
      factors.reduce((sum, factor, p) => sum + factor * parts[p]![i]!, 0),
    );
    expectClose(mergeDense("linear", input), expected, 64 * EPS * maxAbs(expected));
  });

  test("paper:linear and lorahub are the products of their sums", () => {
    fc.assert(
      fc.property(equalRanks(), (input) => {
        const rank = input.factors[0]!.rank;
        const product = (
          left: (i: number) => number,
          right: (i: number) => number,
        ): Float64Array => {
          const a = new Float64Array(rank * input.cols);
          const b = new Float64Array(input.rows * rank);
          input.factors.forEach((factor, i) => {
            for (let k = 0; k < a.length; k++) a[k]! += right(i) * factor.a[k]!;
            for (let k = 0; k < b.length; k++) b[k]! += left(i) * factor.b[k]!;
          });
          const factors = [{ ...input.factors[0]!, scaling: 1, weight: 1 }];
          const f32 = { a: Float32Array.from(a), b: Float32Array.from(b) };
          return denseSum({ ...input, factors: [{ ...factors[0]!, ...f32 }] }).sum;
        };
        const { factors } = input;
        const paper = product(
          (i) => factors[i]!.weight * factors[i]!.scaling,
          () => 1,
        );
        // Factors rounded once on both sides; the same sums in the same order.
        expectClose(mergeDense("paper:linear", input), paper, 4 * EPS * (1 + maxAbs(paper)));
        const root = (i: number): number => factors[i]!.weight * Math.sqrt(factors[i]!.scaling);
        const hub = product(root, root);
        expectClose(mergeDense("lorahub", input), hub, 4 * EPS * (1 + maxAbs(hub)));
      }),
      { numRuns },
    );
  });
});
