// A soup as one PEFT adapter: read again through the adapter loader, it is the soup.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openAdapter } from "../../src/adapters/adapter.ts";
import { openWorkbench, type Workbench } from "../../src/api/workbench.ts";
import { createMemorySink, type SoupWeights } from "../../src/index.ts";
import { listLinears } from "../../src/model/config.ts";
import { openFileSet } from "../../src/sources/open.ts";
import { goldenPath, kitchenPath, readGolden } from "../support/kitchen.ts";

let workbench: Workbench;
const paths = ["a", "b"].map((name) => goldenPath(`micro/adapter_${name}`));
const scalings = [8 / 4, 9 / 6];

beforeAll(async () => {
  workbench = await openWorkbench(goldenPath("micro"));
  await workbench.loadAdapter(paths[0]!, { name: "a" });
  await workbench.loadAdapter(paths[1]!, { name: "b" });
});
afterAll(() => workbench.close());

const golden: Record<string, [number, number]> = readGolden("micro/cat_weights.json");
const perLinear = (i: number) => ({
  default: 0,
  linears: Object.fromEntries(Object.entries(golden).map(([path, pair]) => [path, pair[i]!])),
});
const Q0 = "model.layers.0.self_attn.q_proj";

describe("writeCatAdapter", () => {
  test.each<[string, SoupWeights]>([
    ["global weights", { a: 0.7, b: -0.4 }],
    ["weights per linear layer", { a: perLinear(0), b: perLinear(1) }],
    ["weights per layer, one of them 0", { a: { layers: [1, 0] }, b: { layers: [0.5, 2] } }],
    ["one linear layer of one adapter", { a: { default: 0, linears: { [Q0]: 3 } } }],
  ])("B A equals Σ f32(m A) B exactly, with scaling 1: %s", async (_, weights) => {
    const soup = workbench.soup(weights);
    const sink = createMemorySink();
    await soup.save(sink, { format: "peft" });
    const linears = listLinears(workbench.config);
    const merged = await openAdapter(await openFileSet(sink.files), linears);
    const parts = await Promise.all(
      paths.map(async (path) => openAdapter(await openFileSet(path), linears)),
    );
    let compared = 0;
    for (const { path } of linears) {
      const contributions = soup.contributions(path);
      expect(merged.modules.has(path)).toBe(contributions.length > 0);
      if (contributions.length === 0) continue;
      const module = merged.modules.get(path)!;
      expect(module.scaling).toBe(1);
      const whole = await merged.readModule(path);
      let start = 0;
      for (const { loaded, m } of contributions) {
        const i = loaded.name === "a" ? 0 : 1;
        const { a, b } = await parts[i]!.readModule(path);
        const { rank } = parts[i]!.modules.get(path)!;
        const weight = soup.weights[loaded.name]!;
        const own = typeof weight === "number" ? weight : weight.linears![path]!;
        expect(m).toBe(Math.fround(own * scalings[i]!));
        const rows = whole.a.subarray(start * module.cols, (start + rank) * module.cols);
        expect(rows).toEqual(a.map((value) => m * value));
        for (let row = 0; row < module.rows; row++) {
          const at = row * module.rank + start;
          const expected = b.subarray(row * rank, (row + 1) * rank);
          expect(whole.b.subarray(at, at + rank)).toEqual(expected);
        }
        start += rank;
        compared++;
      }
      expect(module.rank).toBe(start);
    }
    expect(compared).toBeGreaterThan(0);
    await Promise.all([merged, ...parts].map((adapter) => adapter.close()));
  });

  test("names kinds where all layers take part, paths and patterns where they do not", async () => {
    const sink = createMemorySink();
    const soup = workbench.soup({ a: 1, b: { default: 0, layers: { 1: 1 } } });
    await soup.save(sink, { format: "peft" });
    const config = readConfig(sink.files);
    expect(config).toMatchObject({ r: 4, lora_alpha: 4, peft_type: "LORA" });
    expect(config.target_modules).toEqual([
      "q_proj",
      "k_proj",
      "v_proj",
      "o_proj",
      "gate_proj",
      "up_proj",
      "down_proj",
    ]);
    expect(config.rank_pattern["layers\\.1\\.self_attn\\.q_proj"]).toBe(10);
    expect(config.alpha_pattern).toEqual(config.rank_pattern);
    expect(Object.keys(config.rank_pattern)).toHaveLength(7);

    const one = createMemorySink();
    await workbench.soup({ b: { layers: [0, 1] } }).save(one, { format: "peft" });
    const { target_modules } = readConfig(one.files);
    expect(target_modules).toContain("model.layers.1.self_attn.q_proj");
    expect(target_modules).toHaveLength(7);
  });

  test("all weights 0 is refused", async () => {
    const saving = workbench.soup({ a: 0 }).save(createMemorySink(), { format: "peft" });
    await expect(saving).rejects.toMatchObject({ code: "SOUP_INVALID" });
  });

  test("the kitchen's learned soup is the adapter that the recipe's own code made of it", async () => {
    const kitchen = await openWorkbench(kitchenPath("base"));
    await kitchen.loadAdapter(kitchenPath("adapters/knowledge"), { name: "knowledge" });
    await kitchen.loadAdapter(kitchenPath("adapters/format"), { name: "format" });
    const { readFileSync } = await import("node:fs");
    const text = readFileSync(kitchenPath("soups/learned.json"), "utf8");
    const sink = createMemorySink();
    await (await kitchen.loadSoup(text)).save(sink, { format: "peft" });
    const linears = listLinears(kitchen.config);
    const ours = await openAdapter(await openFileSet(sink.files), linears);
    const theirs = await openAdapter(await openFileSet(kitchenPath("adapters/soup-cat")), linears);
    expect([...ours.modules.keys()]).toEqual([...theirs.modules.keys()]);
    for (const path of ours.modules.keys()) {
      const [x, y] = [await ours.readModule(path), await theirs.readModule(path)];
      expect(x.b).toEqual(y.b);
      // They multiplied twice, by the scaling 2 (exact) and the f32 weight: one rounding, as here.
      expect(x.a).toEqual(y.a);
    }
    await Promise.all([ours.close(), theirs.close(), kitchen.close()]);
  });
});

// biome-ignore lint/suspicious/noExplicitAny: a JSON file of ours
function readConfig(files: Record<string, Uint8Array>): any {
  return JSON.parse(new TextDecoder().decode(files["adapter_config.json"]));
}
