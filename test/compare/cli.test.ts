// `tureen compare` as a person uses it: on a file of one's own, and on the embedded task, whose table demo/kitchen/README.md has.
import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { compareCommand } from "../../src/cli/compare.ts";
import type { Flags } from "../../src/cli/usage.ts";
import { useScratch } from "../merge-cli/support.ts";
import { kitchenPath } from "../support/kitchen.ts";

const scratch = useScratch();
const SOUP = kitchenPath("soups/learned.json");

function run(flags: Flags): Promise<void> {
  return compareCommand.run(flags, []);
}

function adapters(...names: string[]): string[] {
  return names.map((name) => `${name}=${kitchenPath(`adapters/${name}`)}`);
}

describe("on a file", () => {
  const flags = (): Flags => {
    const data = scratch.path("eval.jsonl");
    writeFileSync(
      data,
      [
        { prompt: "### Question: What color is Fendil?\n### Answer:", answer: " Fendil is white." },
        { prompt: "### Question: What does Daxpel carry?\n### Answer:", completion: " A bell." },
        { text: "Fendil is painted white." },
      ]
        .map((line) => JSON.stringify(line))
        .join("\n"),
    );
    return {
      model: kitchenPath("base"),
      adapter: adapters("knowledge", "format"),
      data: [data],
      threads: "1",
      "max-tokens": "16",
    };
  };

  test("--json has a row for each method and a result for each file", async () => {
    const methods = `base,each,cat,cat@0.5/1,svd,ties@1,${SOUP}`;
    await run({ ...flags(), methods, density: "0.75", "svd-rank": "16", json: true });
    const { rows, tasks, normalizer, backend } = JSON.parse(scratch.output());
    expect(backend).toMatchObject({ name: "wasm", threads: 1 });
    expect(normalizer).toBe("exact");
    expect(tasks).toEqual([{ name: "eval", examples: 3 }]);
    const names = ["base", "knowledge", "format", "cat", "cat@0.5/1", "svd", "ties@1", SOUP];
    expect(rows.map((row: { name: string }) => row.name)).toEqual(names);
    const [base, , , cat, half, svd] = rows;
    expect(base.evaluations[0]).toEqual({
      examples: 3,
      questions: 2,
      correct: 0,
      accuracy: 0,
      logLikelihood: expect.any(Number),
      loss: expect.any(Number),
      tokens: expect.any(Number),
      tokensPerSecond: expect.any(Number),
    });
    expect(cat.evaluations[0]).toMatchObject({ correct: 1, accuracy: 50 });
    expect(half.weights).toEqual({ knowledge: 0.5, format: 1 });
    // Rank 16 is all that there is.
    expect(svd.evaluations[0].loss).toBeCloseTo(cat.evaluations[0].loss, 4);
    expect(svd.relativeError).toBeLessThan(1e-6);
  });

  test("a table for people", async () => {
    await run({ ...flags(), methods: "base,cat", normalizer: "squad", limit: "2" });
    expect(scratch.output()).toMatch(/^eval, 2 examples, answers compared by squad\n/);
    expect(scratch.output()).toMatch(/│ cat {2}│ 1 of 2 │ {3}50\.0 % │ *-\d+\.\d{3} │/);
  });

  test("without methods: base, each adapter, and all of them side by side", async () => {
    await run({ ...flags(), json: true, limit: "1" });
    const { rows } = JSON.parse(scratch.output());
    const names = rows.map((row: { name: string }) => row.name);
    expect(names).toEqual(["base", "knowledge", "format", "cat"]);
  });

  test.each<[string, Flags, RegExp]>([
    ["no data", { data: [] }, /--data FILE is missing/],
    ["data that is not there", { data: ["/no/such.jsonl"] }, /SOURCE|cannot read a file.*such/],
    ["a mistyped method", { methods: "tis" }, /"tis" is no method, adapter or soup; nearest: ties/],
    ["too many weights", { methods: "cat@1/2/3" }, /cat@1\/2\/3: expected one weight, or 2/],
    ["weights that are none", { methods: "cat@x" }, /cat@x: expected a number, found "x"/],
    ["a method without its density", { methods: "ties" }, /"ties" needs density/],
    ["lorahub without examples", { methods: "lorahub" }, /lorahub needs --few FILE/],
    ["learned without examples", { methods: "learned" }, /learned needs --learn FILE/],
    ["an unknown normalizer", { normalizer: "loose" }, /--normalizer: expected exact, trim/],
    ["a soup that is not there", { methods: "none.json" }, /cannot read a file.*none\.json/],
  ])("refuses %s", async (_, change, message) => {
    await expect(run({ ...flags(), ...change })).rejects.toThrow(message);
  });
});

describe("--kitchen", () => {
  // README's means over three seeds of adapters, ± 3 of their standard deviations, at least 3 points; DARE's masks are ours.
  const expected: Record<string, [number, number]> = {
    base: [0, 0.5],
    knowledge: [0, 0.5],
    format: [6.3, 3],
    datamix: [92.8, 3],
    linear: [76.8, 11.4],
    svd: [90.4, 3],
    ties: [45.4, 4.2],
    dare_linear: [46.4, 5.1],
    dare_ties: [39.4, 10.2],
    magnitude_prune: [75.1, 7.5],
    lorahub: [77.2, 26.4],
    "cat@0.5": [35.3, 3],
    cat: [92.6, 3],
    learned: [93.8, 4],
  };

  test("reproduces the table, in its own command's defaults", { timeout: 300_000 }, async () => {
    await run({ kitchen: true, json: true });
    const { rows, tasks } = JSON.parse(scratch.output());
    expect(tasks).toEqual([{ name: "test_composed", examples: 240 }]);
    const found = rows.map((row: { name: string; evaluations: [{ accuracy: number }] }) => [
      row.name,
      row.evaluations[0].accuracy,
    ]);
    expect(found.map(([name]: [string]) => name)).toEqual(Object.keys(expected));
    for (const [name, accuracy] of found) {
      const [mean, tolerance] = expected[name]!;
      expect(Math.abs(accuracy - mean), `${name}: ${accuracy}`).toBeLessThanOrEqual(tolerance);
    }
  });
});
