// Weights: what they expand to, what is refused, what a change costs.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWorkbench, type Workbench } from "../../src/api/workbench.ts";
import { TureenError } from "../../src/index.ts";
import { BankState } from "../../src/soup/bank-state.ts";
import type { Soup } from "../../src/soup/soup.ts";
import { goldenPath } from "../support/kitchen.ts";

let workbench: Workbench;

beforeAll(async () => {
  workbench = await openWorkbench(goldenPath("micro"));
  await workbench.loadAdapter(goldenPath("micro/adapter_a"), { name: "a" });
  await workbench.loadAdapter(goldenPath("micro/adapter_b"), { name: "b" });
});
afterAll(() => workbench.close());

const Q0 = "model.layers.0.self_attn.q_proj";
const Q1 = "model.layers.1.self_attn.q_proj";

/** m of each entry of one linear layer, as the decoder sees it. */
function numbers(soup: Soup, path: string): number[] {
  const state = new BankState();
  state.update(soup);
  return (state.banks.get(path) ?? []).map(({ m }) => m);
}

describe("weights", () => {
  test("m is weight × scaling, as f32, in load order whatever the order of the weights", () => {
    // lora_alpha / r: a 8/4, b 9/6
    expect(numbers(workbench.soup({ b: 0.1, a: 0.7 }), Q0)).toEqual([
      Math.fround(0.7 * 2),
      Math.fround(0.1 * 1.5),
    ]);
  });

  test("linears win over layers, layers over default", () => {
    const soup = workbench.soup({ a: { default: 1, layers: { 1: 2 }, linears: { [Q1]: 3 } } });
    expect(numbers(soup, Q0)).toEqual([2]);
    expect(numbers(soup, Q1)).toEqual([6]);
    expect(numbers(soup, "model.layers.1.mlp.up_proj")).toEqual([4]);
  });

  test("a list gives one weight per layer", () => {
    const soup = workbench.soup({ a: { layers: [0.25, 0.5] } });
    expect([numbers(soup, Q0), numbers(soup, Q1)]).toEqual([[0.5], [1]]);
  });

  test("weights read back: a number where all agree, else one per linear layer", () => {
    const soup = workbench.soup({ a: 0.5, b: { layers: [1, -1] } });
    const { a, b } = soup.weights;
    expect(a).toBe(0.5);
    expect(b).toMatchObject({ linears: { [Q0]: 1, [Q1]: -1 } });
    expect(workbench.soup(soup.weights).weights).toEqual(soup.weights);
  });

  test("setLinear changes one linear layer", () => {
    const soup = workbench.soup({ a: 1 });
    soup.setLinear("a", Q1, 0.5);
    soup.setLinear("b", Q1, 2);
    expect([numbers(soup, Q0), numbers(soup, Q1)]).toEqual([
      [2, 0],
      [1, 3],
    ]);
  });

  test.each<[string, (soup: Soup) => void]>([
    ["NaN", (soup) => soup.set("a", Number.NaN)],
    ["infinity", (soup) => soup.set("a", Number.POSITIVE_INFINITY)],
    ["beyond f32", (soup) => soup.set("a", 3e38)],
    ["no number", (soup) => soup.set("a", "1" as unknown as number)],
    ["null", (soup) => soup.set("a", null as unknown as number)],
    ["unknown field", (soup) => soup.set("a", { defualt: 1 } as never)],
    ["incomplete", (soup) => soup.set("a", { linears: { [Q0]: 1 } })],
    ["too few layers", (soup) => soup.set("a", { layers: [1] })],
    ["unknown layer", (soup) => soup.set("a", { default: 0, layers: { 2: 1 } })],
    ["NaN in a layer", (soup) => soup.set("a", { layers: [1, Number.NaN] })],
    ["unknown linear", (soup) => soup.set("a", { default: 0, linears: { "layers.0.q": 1 } })],
    ["untouched linear", (soup) => soup.setLinear("a", "lm_head", 1)],
    ["NaN in setLinear", (soup) => soup.setLinear("a", Q0, Number.NaN)],
    ["unknown linear in setLinear", (soup) => soup.setLinear("a", `${Q0}s`, 1)],
    ["unknown adapter", (soup) => soup.set("c", 1)],
  ])("%s is refused and changes nothing", (_, change) => {
    const soup = workbench.soup({ a: 0.5, b: 0.25 });
    const { version } = soup;
    const message = catchMessage(() => change(soup));
    expect(message).toMatchSnapshot();
    expect(soup.weights).toEqual({ a: 0.5, b: 0.25 });
    expect(soup.version).toBe(version);
  });
});

describe("set of a number", () => {
  test("takes less than 0.1 ms", () => {
    const soup = workbench.soup({ a: 1, b: 1 });
    const start = performance.now();
    for (let i = 0; i < 1000; i++) soup.set("a", i / 1000);
    expect((performance.now() - start) / 1000).toBeLessThan(0.1);
  });
});

describe("BankState", () => {
  test("says whether the numbers changed, and ignores adapters of weight 0", () => {
    const state = new BankState();
    const soup = workbench.soup({ a: 1 });
    expect(state.update(undefined)).toBe(false);
    expect(state.update(soup)).toBe(true);
    expect(state.update(soup)).toBe(false);
    expect(state.update(workbench.soup({ b: 0, a: 1 }))).toBe(false);
    soup.set("a", 0.5);
    expect(state.update(soup)).toBe(true);
    soup.set("b", 1);
    expect(state.update(soup)).toBe(true);
    soup.set("a", 0);
    soup.set("b", 0);
    expect(state.update(soup)).toBe(true);
    expect(state.banks.size).toBe(0);
    expect(state.update(undefined)).toBe(false);
  });

  test("is a copy: re-weighting the soup does not reach it before the next update", () => {
    const state = new BankState();
    const soup = workbench.soup({ a: 1 });
    state.update(soup);
    soup.set("a", 0.25);
    expect(state.banks.get(Q0)![0]!.m).toBe(2);
  });
});

function catchMessage(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof TureenError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error("nothing was thrown");
}
