// mergekit's conventions against test/golden/mergekit, which a numpy script made from their definitions.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { MaskSource } from "../../src/soup/methods/masks.ts";
import type { AdapterFactors, MergeInput, MergeOptions } from "../../src/soup/methods/method.ts";
import { mergeModule } from "../../src/soup/methods/methods.ts";
import { EPS, expectClose, maxAbs } from "../support/values.ts";
import { mergeDense, PATH, randomInput, toDense } from "./support.ts";

interface GoldenCase {
  readonly method: string;
  readonly set: string;
  readonly weights: readonly number[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly delta: readonly number[];
  readonly masks?: readonly string[];
  readonly probabilities?: readonly (readonly number[])[];
}

interface Golden {
  readonly rows: number;
  readonly cols: number;
  readonly sets: Readonly<
    Record<string, readonly { a: number[]; b: number[]; rank: number; scaling: number }[]>
  >;
  readonly cases: readonly GoldenCase[];
}

const golden: Golden = JSON.parse(
  readFileSync(new URL("../golden/mergekit/golden.json", import.meta.url), "utf8"),
);
const { rows, cols } = golden;

/** Per-model parameters are lists in the goldens, and belong to the adapters here. */
const PER_ADAPTER = ["density", "gamma", "epsilon"] as const;

function readCase({ set, weights, options }: GoldenCase): [MergeInput, MergeOptions] {
  const shared: Record<string, unknown> = { ...options };
  const factors = golden.sets[set]!.map((adapter, i): AdapterFactors => {
    const own: Record<string, number> = {};
    for (const name of PER_ADAPTER) {
      const values = options[name];
      if (!Array.isArray(values)) continue;
      own[name] = values[i];
      delete shared[name];
    }
    const a = Float32Array.from(adapter.a);
    const b = Float32Array.from(adapter.b);
    return { ...adapter, ...own, a, b, name: `adapter ${i}`, weight: weights[i]! };
  });
  return [{ path: PATH, rows, cols, factors }, shared];
}

/** The golden's masks, and a check of the probabilities that the method asks for. Adapters kept whole draw no mask. */
function goldenMasks({ masks = [], probabilities, options }: GoldenCase): MaskSource {
  const densities = options.density;
  const drawing = [0, 1, 2].filter((i) => !Array.isArray(densities) || densities[i] !== 1);
  return ({ adapter, path, tensor, row }, keep, mask) => {
    expect([path, tensor]).toEqual([PATH, "delta"]);
    const place = drawing.indexOf(adapter);
    const start = row * cols;
    for (let col = 0; col < cols; col++) mask[col] = Number(masks[place]![start + col]);
    if (probabilities === undefined) return;
    expectClose(keep as Float64Array, probabilities[place]!.slice(start, start + cols), EPS);
  };
}

describe("mergekit conventions", () => {
  const names = [...new Set(golden.cases.map(({ method }) => method))];
  const cases = (name: string): GoldenCase[] =>
    golden.cases.filter(({ method }) => method === name);

  // An element passes at most four roundings to f32 (product, rescaling, sum, and the golden's own), each of a value below the
  // sum of the weighted deltas, divided by no less than the smallest divisor.
  test.each(names)("mergekit:%s equals the numpy goldens to 4 roundings", (name) => {
    expect(cases(name).length).toBeGreaterThanOrEqual(6);
    for (const golden of cases(name)) {
      const [input, options] = readCase(golden);
      const masks = golden.masks === undefined ? {} : { masks: goldenMasks(golden) };
      const delta = mergeDense(`mergekit:${name}`, input, { ...options, ...masks });
      const largest = input.factors.reduce(
        (sum, { a, b, rank, scaling }) => sum + rank * scaling * maxAbs(a) * maxAbs(b),
        0,
      );
      expect(maxAbs(delta), JSON.stringify(golden.options)).toBeGreaterThan(0);
      expectClose(delta, golden.delta, 4 * EPS * largest * amplification(golden));
    }
  });

  test("the masks that goldens hold are asked for", () => {
    const masked = golden.cases.filter(({ masks }) => masks !== undefined);
    expect(masked.length).toBeGreaterThan(60);
  });
});

/** What normalising and rescaling may multiply errors by. */
function amplification({ weights, options, method }: GoldenCase): number {
  const sums = [0, 1, 2, 3, 4, 5, 6, 7].map((set) =>
    Math.abs(weights.reduce((sum, weight, i) => sum + (set & (1 << i) ? weight : 0), 0)),
  );
  const smallest = Math.min(...sums.filter((sum) => sum >= 1e-8));
  const lambda = typeof options.lambda === "number" ? options.lambda : 1;
  // Rescaling by L1 norms: at most about 1 / density, here no less than 0.4.
  const rescaling = /dare|della|ties|breadcrumbs/.test(method) ? 2.5 : 1;
  return (lambda * rescaling) / Math.min(1, smallest);
}

describe("truncation", () => {
  const input = randomInput(40, 30, [
    { rank: 3, scaling: 2 },
    { rank: 5, weight: -0.5 },
  ]);

  test("svdRank gives factors whose error is what relativeError says", () => {
    for (const [method, options] of [
      ["mergekit:ties", { density: 0.5 }],
      ["mergekit:della", { density: 0.5 }],
      ["mergekit:task_arithmetic", {}],
    ] as const) {
      const full = mergeDense(method, input, options);
      const cut = mergeModule(method, input, { ...options, svdRank: 4 });
      if (cut.kind !== "low-rank") throw new Error("not low-rank");
      expect(cut.rank).toBe(4);
      const approximation = toDense(cut, input);
      let error = 0;
      let size = 0;
      for (let i = 0; i < full.length; i++) {
        error += (full[i]! - approximation[i]!) ** 2;
        size += full[i]! ** 2;
      }
      expect(cut.relativeError).toBeGreaterThan(0.01);
      // Roundings to f32 of the factors: orthogonal to the error up to their own size.
      expect(Math.abs(Math.sqrt(error / size) - cut.relativeError)).toBeLessThan(8 * EPS);
    }
  });

  test("sce of one adapter is that adapter, whatever is selected", () => {
    const one = { ...input, factors: input.factors.slice(0, 1), adapters: 2 };
    expectClose(
      mergeDense("mergekit:sce", one, { selectTopk: 0.3 }),
      mergeDense("cat", one),
      4 * EPS * 2 * 3,
    );
  });

  test("breadcrumbs with nothing large to remove keeps the largest", () => {
    const breadcrumbs = mergeDense("mergekit:breadcrumbs", input, { gamma: 0, density: 0.5 });
    const pruned = mergeDense("magnitude_prune_svd", input, { density: 0.5, svdRank: 30 });
    expectClose(breadcrumbs, pruned, 64 * EPS * maxAbs(pruned));
  });
});
