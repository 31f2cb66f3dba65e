// The harness's arithmetic; measuring itself is not part of the tests.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { deriveFigures } from "./figures.ts";
import { renderReport } from "./report.ts";
import type { Results, Row } from "./results.ts";
import { interleave, median, ratioOf, spreadOf } from "./statistics.ts";

const SPEEDS = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), {
  minLength: 1,
  maxLength: 20,
});

test("the median of an even number of values lies between the middle two", () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 9, 2])).toBe(3);
  expect(median([])).toBeNaN();
});

test("a median has as many values below it as above, whatever their order", () => {
  fc.assert(
    fc.property(SPEEDS, (values) => {
      const { median: middle, min, max } = spreadOf(values);
      expect(values.filter((value) => value < middle).length).toBeLessThanOrEqual(
        values.length / 2,
      );
      expect(values.filter((value) => value > middle).length).toBeLessThanOrEqual(
        values.length / 2,
      );
      expect(middle).toBeGreaterThanOrEqual(min);
      expect(middle).toBeLessThanOrEqual(max);
    }),
  );
});

test("a ratio is the medians', its spread that of neighbours in time", () => {
  // a machine that becomes half as fast: each round says 2, whatever the speeds
  expect(ratioOf([200, 100, 50], [100, 50, 25])).toEqual({ median: 2, min: 2, max: 2 });
  expect(ratioOf([10, 30], [10, 10])).toEqual({ median: 2, min: 1, max: 3 });
  // a slow peer of one round
  expect(ratioOf([10, 20, 30], [5])).toEqual({ median: 4, min: 2, max: 2 });
});

test("subjects take turns", () => {
  const order = [...interleave(["A", "B"], 2)].map(([subject, round]) => subject + round);
  expect(order).toEqual(["A0", "B0", "A1", "B1"]);
});

describe("figures", () => {
  const speed = (contender: string, values: number[], more: Partial<Row> = {}): Row => ({
    ...{ section: "generation", contender, metric: "decode", type: "q8", threads: 1, adapters: 0 },
    ...more,
    values,
  });
  const results: Results = {
    date: "2026-01-01T00:00:00Z",
    machine: { cpu: "none", cores: 2, node: "v0", platform: "none" },
    options: { shape: "smollm2-135m", rounds: 2, quick: false, linearWeights: 1e8 },
    about: {},
    failures: [{ contender: "wllama 3", where: "q8", reason: "no browser" }],
    rows: [
      speed("tureen", [90, 110]),
      speed("llama.cpp", [50, 50]),
      speed("wllama 2", [20, 20]),
      speed("wllama 3", [40, 40]),
      speed("tureen", [80, 80], { adapters: 2 }),
    ],
  };
  const measured = (name: string) =>
    deriveFigures(results).find((figure) => figure.name === name)?.measured;

  test.each([
    ["decode q8, 1 thread, over llama.cpp", { median: 2, min: 1.8, max: 2.2 }],
    ["decode q8, 1 thread, over the better wllama", { median: 2.5, min: 2.25, max: 2.75 }],
    ["cost of two live adapters: decode q8, 1 thread", { median: 25, min: 12.5, max: 37.5 }],
    ["decode q4, 1 thread, over llama.cpp", undefined],
  ])("%s", (name, expected) => {
    if (expected === undefined) return expect(measured(name)).toBeUndefined();
    for (const [key, value] of Object.entries(expected)) {
      expect(measured(name)).toHaveProperty(key, expect.closeTo(value, 9));
    }
  });

  test("the report marks what misses its target and says what did not run", () => {
    const report = renderReport(results);
    expect(report).toContain(
      "| decode q8, 1 thread, over llama.cpp | ≥ 1 × | 2.00 × | 1.80 - 2.20 |",
    );
    expect(report).toContain("| ≤ 8 % | **25.0 %** | 12.5 - 37.5 |");
    expect(report).toContain("- wllama 3 (q8): no browser");
  });
});
