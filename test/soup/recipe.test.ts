// soup.json: strict reading, stable writing, and that a soup is only made of what it was made of.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWorkbench, type Workbench } from "../../src/api/workbench.ts";
import {
  createMemorySink,
  parseRecipe,
  type SoupRecipe,
  serializeRecipe,
} from "../../src/index.ts";
import { goldenPath, kitchenPath } from "../support/kitchen.ts";

const HASH = "0123456789abcdef".repeat(4);
const RECIPE: SoupRecipe = {
  format: "tureen-soup",
  version: 1,
  method: "cat",
  base: { fingerprint: HASH },
  adapters: [{ name: "a", config: HASH, weights: HASH }],
  weights: { a: { default: 1, layers: { 0: 0.5 }, linears: { lm_head: 2 } } },
  learned: { seed: 1, by: "hand", exact: true },
};

describe("parseRecipe", () => {
  test("reads what serializeRecipe writes", () => {
    expect(parseRecipe(serializeRecipe(RECIPE))).toEqual(RECIPE);
  });

  test.each<[string, unknown]>([
    ["not JSON", "{"],
    ["null", null],
    ["a list", []],
    ["another format", { ...RECIPE, format: "soup" }],
    ["a later version", { ...RECIPE, version: 2 }],
    ["another method", { ...RECIPE, method: "ties" }],
    ["an unknown field", { ...RECIPE, comment: "" }],
    ["a short hash", { ...RECIPE, base: { fingerprint: "12" } }],
    ["a weight that is no number", { ...RECIPE, weights: { a: "1" } }],
    ["an infinite weight", { ...RECIPE, weights: { a: Number.POSITIVE_INFINITY } }],
    ["an unknown field of a weight", { ...RECIPE, weights: { a: { all: 1 } } }],
    ["a weight without adapter", { ...RECIPE, weights: { b: 1 } }],
    ["two adapters of one name", { ...RECIPE, adapters: [...RECIPE.adapters, ...RECIPE.adapters] }],
    ["no adapters", { ...RECIPE, adapters: undefined }],
  ])("%s is refused", (_, json) => {
    expect(() => parseRecipe(json)).toThrowErrorMatchingSnapshot();
  });
});

describe("a saved soup", () => {
  let workbench: Workbench;
  const names = ["knowledge", "format"];

  beforeAll(async () => {
    workbench = await openWorkbench(kitchenPath("base"));
    for (const name of names) {
      await workbench.loadAdapter(kitchenPath(`adapters/${name}`), { name });
    }
  });
  afterAll(() => workbench.close());

  test("loads with the same weights", async () => {
    const soup = workbench.soup({ knowledge: 0.6, format: { layers: [1, 2, 3, 4, 5, 6] } });
    const sink = createMemorySink();
    await soup.save(sink);
    const text = new TextDecoder().decode(sink.files["soup.json"]);
    expect((await workbench.loadSoup(text)).weights).toEqual(soup.weights);
  });

  test("the kitchen's soups/learned.json is adapters/cat_weights.json", async () => {
    const soup = await workbench.loadSoup(readFileSync(kitchenPath("soups/learned.json"), "utf8"));
    const { weights } = JSON.parse(readFileSync(kitchenPath("adapters/cat_weights.json"), "utf8"));
    names.forEach((name, i) => {
      const expected = Object.entries<number[]>(weights).map(([path, list]) => [path, list[i]]);
      expect(soup.weights[name]).toEqual({ linears: Object.fromEntries(expected) });
    });
  });

  test("is refused where an adapter has other content, unless allowed", async () => {
    const other = await openWorkbench(kitchenPath("base"));
    try {
      await other.loadAdapter(kitchenPath("adapters/datamix"), { name: "knowledge" });
      await other.loadAdapter(kitchenPath("adapters/format"), { name: "format" });
      const recipe = await workbench.soup({ knowledge: 1, format: 1 }).toRecipe();
      await expect(other.loadSoup(recipe)).rejects.toThrowErrorMatchingInlineSnapshot(
        `[TureenError: adapter "knowledge" is not the soup's: expected weights with SHA-256 81ebeab1fc16…, found e81f8ee68789…. Load what the soup was made from, or allow other files explicitly.]`,
      );
      const soup = await other.loadSoup(recipe, { allowMismatch: true });
      expect(soup.weights).toEqual({ knowledge: 1, format: 1 });
    } finally {
      await other.close();
    }
  });

  test("is refused for another base, and where an adapter is missing", async () => {
    const micro = await openWorkbench(goldenPath("micro"));
    try {
      const recipe = await workbench.soup({ knowledge: 1 }).toRecipe();
      await expect(micro.loadSoup(recipe)).rejects.toMatchObject({ code: "ADAPTER_NOT_FOUND" });
      await micro.loadAdapter(goldenPath("micro/adapter_a"), { name: "knowledge" });
      await expect(micro.loadSoup(recipe)).rejects.toMatchObject({
        code: "SOUP_INVALID",
        message: expect.stringContaining("another base model"),
      });
    } finally {
      await micro.close();
    }
  });
});
