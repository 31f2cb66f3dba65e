// PEFT's methods against goldens that PEFT's own code made (test/golden/kitchen/README.md): random factors of rank 4, two
// adapters, positive and signed weights, DARE's masks given.
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import type { MaskSource } from "../../src/soup/methods/masks.ts";
import type { MergeInput } from "../../src/soup/methods/method.ts";
import { mergeModule } from "../../src/soup/methods/methods.ts";
import { peftRank, peftResultScaling } from "../../src/soup/methods/peft.ts";
import { type GoldenTensor, readTensors } from "../support/models.ts";
import { EPS, expectClose, maxAbs } from "../support/values.ts";
import { lowRank, mergeDense, PATH, randomInput, withWeights } from "./support.ts";

const folder = fileURLToPath(new URL("../golden/kitchen", import.meta.url));
const DENSITY = 0.6;
const [ROWS, COLS, RANK] = [20, 24, 4];

let tensors: Map<string, GoldenTensor>;
beforeAll(async () => {
  tensors = await readTensors(folder, "merges.safetensors");
});

function values(name: string): Float32Array {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`no golden ${name}`);
  return tensor.values;
}

function goldenInput(tag: string): MergeInput {
  const scalings = values("in.scaling");
  // As Python's numbers, from which PEFT's weights were made.
  const weights = tag === "signed" ? [0.7, -0.4] : [1, 0.6];
  const factors = [0, 1].map((i) => ({
    name: `adapter ${i}`,
    a: values(`in.A.${i}`),
    b: values(`in.B.${i}`),
    rank: RANK,
    scaling: scalings[i]!,
    weight: weights[i]!,
  }));
  expectClose(weights, values(`in.weights.${tag}`), EPS);
  return { path: PATH, rows: ROWS, cols: COLS, factors };
}

function goldenMasks(prefix: string): MaskSource {
  return ({ adapter, tensor, row }, keep, mask) => {
    expect(keep).toBe(DENSITY);
    const side = tensor === "delta" ? "" : `${tensor.toUpperCase()}.`;
    const all = values(`${prefix}.mask.${side}${adapter}`);
    mask.set(all.subarray(row * mask.length, (row + 1) * mask.length));
  };
}

function optionsFor(kind: string, tag: string): { density?: number; masks?: MaskSource } {
  if (kind === "linear" || kind === "cat" || kind === "svd") return {};
  if (!kind.startsWith("dare")) return { density: DENSITY };
  return { density: DENSITY, masks: goldenMasks(`${tag}.${kind}`) };
}

const tags = ["signed", "pos"];
const combined = (kinds: readonly string[]): [string, string][] =>
  tags.flatMap((tag) => kinds.map((kind): [string, string] => [tag, kind]));

describe("PEFT's methods on factors", () => {
  // torch rounds the weight, T / density, the products, their sum and the quotient, each by at most EPS of at most
  // Σ |w_i| max|T_i| / density, and ours rounds T / density and the result.
  test.each(combined(["cat", "linear", "ties", "magnitude_prune", "dare_linear", "dare_ties"]))(
    "%s %s: A and B within 8 roundings",
    (tag, kind) => {
      const input = goldenInput(tag);
      const merged = lowRank(kind, input, optionsFor(kind, tag));
      const roots = input.factors.map((f) => Math.max(1, Math.abs(f.weight * f.scaling)));
      const weight = roots.reduce((sum, root) => sum + root, 0);
      for (const side of ["a", "b"] as const) {
        const largest = Math.max(...input.factors.map((factor) => maxAbs(factor[side])));
        const expected = values(`${tag}.${kind}.${side.toUpperCase()}`);
        expectClose(merged[side], expected, (8 * EPS * weight * largest) / DENSITY);
      }
      const delta = values(`${tag}.${kind}.delta`);
      expectClose(mergeDense(kind, input, optionsFor(kind, tag)), delta, 64 * EPS * maxAbs(delta));
    },
  );

  test.each(combined(["ties"]))("%s %s_svd elects signs both ways", (tag) => {
    for (const majoritySign of ["total", "frequency"] as const) {
      const options = { density: DENSITY, majoritySign, svdRank: ROWS };
      const expected = values(`${tag}.ties_${majoritySign}.full`);
      expectClose(mergeDense("ties_svd", goldenInput(tag), options), expected, svdBound(tag));
    }
    expect(values(`${tag}.ties_total.full`)).not.toEqual(values(`${tag}.ties_frequency.full`));
  });
});

/** f32 against f64 through an SVD: some roundings of the largest singular value. */
function svdBound(tag: string): number {
  return 64 * EPS * values(`${tag}.svd.S`)[0]!;
}

describe("PEFT's methods on products", () => {
  const kinds = ["svd", "ties_svd", "magnitude_prune_svd", "dare_linear_svd", "dare_ties_svd"];

  test.each(combined(kinds))("%s %s: full rank, rank 4 and singular values", (tag, kind) => {
    const input = goldenInput(tag);
    const options = optionsFor(kind, tag);
    const s = values(`${tag}.${kind}.S`);
    const bound = 64 * EPS * s[0]!;
    const full = mergeDense(kind, input, { ...options, svdRank: ROWS });
    expectClose(full, values(`${tag}.${kind}.full`), bound);

    const cut = lowRank(kind, input, { ...options, svdRank: RANK });
    expect(cut.rank).toBe(RANK);
    const norms = Array.from({ length: RANK }, (_, k) =>
      Math.hypot(...Array.from({ length: ROWS }, (_, row) => cut.b[row * RANK + k]!)),
    );
    expectClose(norms, s.subarray(0, RANK), bound);
    // What lies beyond rank 4 turns the vectors by its share of the gap (Wedin).
    const gap = s[RANK - 1]! - s[RANK]!;
    const approximation = mergeDense(kind, input, { ...options, svdRank: RANK });
    expectClose(approximation, values(`${tag}.${kind}.rank4`), bound * (1 + s[0]! / gap));
    const tail = Math.hypot(...s.subarray(RANK)) / Math.hypot(...s);
    expect(Math.abs(cut.relativeError - tail)).toBeLessThan(64 * EPS);
  });

  test.each(tags)("%s svd with compat peft-0.20 applies the scaling twice", (tag) => {
    const input = goldenInput(tag);
    const name = `${tag}.svd_peft_double_scaling`;
    const bound = 2 * svdBound(tag);
    const full = mergeDense("svd", input, { svdRank: 2 * RANK, compat: "peft-0.20" });
    expectClose(full, values(`${name}.full`), bound);
    const cut = mergeDense("svd", input, { svdRank: RANK, compat: "peft-0.20" });
    expectClose(cut, values(`${name}.rank4`), 4 * bound);
    const once = mergeDense("svd", input, { svdRank: 2 * RANK, compat: "peft" });
    expectClose(once, values(`${tag}.svd.full`), bound);
  });
});

describe("PEFT's rules around them", () => {
  const pair = randomInput(9, 7, [
    { rank: 2, scaling: 2 },
    { rank: 2, scaling: 0.5 },
  ]);
  const single = { ...pair, factors: pair.factors.slice(0, 1) };

  test.each(["ties", "dare_ties", "magnitude_prune", "dare_linear"])(
    "a merge of one adapter is linear, by %s and its svd",
    (method) => {
      for (const name of [method, `${method}_svd`]) {
        const merged = lowRank(name, single, { density: 0.3 });
        expect(merged).toEqual(lowRank("linear", single));
      }
    },
  );

  test("a layer that one of two adapters has is pruned", () => {
    const layer = { ...single, adapters: 2 };
    const { a } = lowRank("ties", layer, { density: 0.5 });
    expect(a.filter((value) => value === 0).length).toBe(7);
  });

  test("one adapter is cut to svdRank, which PEFT does not", () => {
    expect(lowRank("ties_svd", single, { density: 0.5, svdRank: 1 }).rank).toBe(1);
    const compat = lowRank("ties_svd", single, { density: 0.5, svdRank: 1, compat: "peft" });
    expect(compat).toEqual(lowRank("linear", single));
  });

  test("an adapter of weight 0 votes in PEFT's elections only", () => {
    const weights = withWeights(pair, [1, 0]);
    const options = { density: 1, svdRank: 7 };
    const without = mergeDense("ties_svd", weights, options);
    expectClose(without, mergeDense("cat", single), 64 * EPS * maxAbs(without));
    const peft = mergeDense("ties_svd", weights, { ...options, compat: "peft" });
    const halved = without.filter((value, i) => Math.abs(peft[i]! - value / 2) < 1e-6);
    expect(halved.length).toBeGreaterThan(10);
  });

  test("the extra scaling of rsLoRA results comes with compat only", () => {
    const scaled = { ...pair, peftScaling: peftResultScaling(true, 4) };
    const plain = mergeDense("cat", pair);
    expect(mergeDense("cat", scaled)).toEqual(plain);
    expect(mergeDense("cat", scaled, { compat: "peft" })).toEqual(plain.map((x) => 2 * x));
    expect(peftResultScaling(false, 4)).toBe(1);
  });

  test("the rank that PEFT declares", () => {
    expect(peftRank("cat", [4, 6])).toBe(10);
    expect(peftRank("linear", [4, 4])).toBe(4);
    expect(peftRank("ties_svd", [4, 6])).toBe(6);
    expect(peftRank("svd", [4, 6], 3)).toBe(3);
    expect(peftRank("svd", [4], 3)).toBe(4);
  });

  test("svdClamp clamps both factors to a quantile of their elements", () => {
    const free = lowRank("svd", pair);
    const clamped = lowRank("svd", pair, { svdClamp: 0.8 });
    const sorted = [...free.a, ...free.b].sort((x, y) => x - y);
    const place = 0.8 * (sorted.length - 1);
    const [below, above] = [sorted[Math.floor(place)]!, sorted[Math.ceil(place)]!];
    const limit = below + (place - Math.floor(place)) * (above - below);
    for (const side of ["a", "b"] as const) {
      const expected = free[side].map((x) => Math.max(-limit, Math.min(limit, x)));
      expectClose(clamped[side], expected, EPS * limit);
    }
    expect(maxAbs(clamped.b)).toBeLessThan(maxAbs(free.b));
    expect(lowRank("svd", pair, { svdClamp: 1 }).relativeError).toBe(free.relativeError);
  });

  test("svd needs no equal ranks and defaults to the largest", () => {
    const mixed = randomInput(9, 8, [{ rank: 2 }, { rank: 3 }]);
    expect(lowRank("svd", mixed).rank).toBe(3);
    expect(mergeModule("ties_svd", mixed, { density: 0.5 }).kind).toBe("low-rank");
  });
});
