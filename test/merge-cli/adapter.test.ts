// Merged adapters, from the command and live: PEFT's numbers on a real model, every method's rank and bytes, refusals.
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import {
  createMemorySink,
  loadModel,
  MERGE_METHODS,
  type MergeOptions,
  type Model,
  mergeAdapters,
  type SoupWeight,
} from "../../src/index.ts";
import { goldenPath, kitchenPath, loadKitchen, loadMicro } from "../support/kitchen.ts";
import { readJsonFile } from "../support/models.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import { expectClose, expectSameBits } from "../support/values.ts";
import { KITCHEN, merge, useScratch } from "./support.ts";

const scratch = useScratch();
const IDS = [1, 5, 99, 200];

/** As in test/model/stories.test.ts: f32 against f64 on that model's logits. */
const LOGIT_BOUND = 2.5e-4;

describeWithSharedData("merged by the command, on stories260K", () => {
  const folder = sharedData("stories260K");
  const names = ["shakespeare", "gsm8k-questions"];
  const adapter = names.map((name) => `${name}=${folder}/adapters/${name}`);

  test.each<[string, string, Record<string, string>]>([
    ["cat shakespeare=0.5 gsm8k-questions=0.5", "shakespeare=0.5,gsm8k-questions=0.5", {}],
    [
      "linear shakespeare=0.7 gsm8k-questions=0.3",
      "shakespeare=0.7,gsm8k-questions=0.3",
      { method: "linear" },
    ],
    [
      "ties shakespeare=1 gsm8k-questions=1 density=0.5 majority_sign_method=total",
      "shakespeare=1,gsm8k-questions=1",
      { method: "ties", density: "0.5", "majority-sign": "total" },
    ],
  ])(
    `%s: logits within ${LOGIT_BOUND} of PEFT's f64, same greedy ids`,
    async (setup, weights, how) => {
      const out = scratch.path(setup);
      await merge({ model: `${folder}/hf-f32`, adapter, weights, ...how, out });
      const model = await loadModel(`${folder}/hf-f32`, { backend: "reference" });
      await model.loadAdapter(out, { name: "merged" });
      const soup = { merged: 1 };
      const { cases } = readJsonFile(folder, "golden-peft.json");
      expect(cases[setup].length).toBe(5);
      for (const { prompt_ids, last_logits, greedy_ids } of cases[setup]) {
        expectClose(await model.logits(prompt_ids, { soup }), last_logits, LOGIT_BOUND);
        const maxTokens = greedy_ids.length;
        const generation = model.generate(prompt_ids, { soup, maxTokens, ignoreEos: true });
        expect((await generation.result()).tokenIds).toEqual(greedy_ids);
      }
      await model.dispose();
    },
  );
});

/** Options that methods need, or that make their result an adapter. */
function optionsFor(name: string, result: string): MergeOptions {
  return {
    ...(MERGE_METHODS.find((method) => method.name === name)!.required.includes("density")
      ? { density: 0.5 }
      : {}),
    ...(result === "dense" ? { svdRank: 5 } : {}),
  };
}

describe("every method", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadKitchen();
    return () => model.dispose();
  });

  test.each(MERGE_METHODS.map(({ name, result }) => [name, result]))(
    "%s: live and from files the same bits, of the rank that the file says",
    async (method, result) => {
      const options = optionsFor(method, result);
      const weight = MERGE_METHODS.find(({ name }) => name === method)!.ignoresWeights ? 1 : 0.5;
      const name = `merged by ${method}`;
      // One decoder layer, because SVDs of dense deltas take a while.
      const only = (value: number): SoupWeight => ({ default: 0, layers: { 2: value } });
      const weights = { knowledge: only(1), format: only(weight) };
      const info = await model.merge({ ...options, method, weights }, { name });
      const live = await model.logits(IDS, { soup: { [name]: 1 } });

      const target = createMemorySink();
      const adapters = [
        { name: "knowledge", source: kitchenPath("adapters/knowledge"), weight: only(1) },
        { name: "format", source: kitchenPath("adapters/format"), weight: only(weight) },
      ];
      const base = kitchenPath("base");
      const report = await mergeAdapters({ model: base, adapters, method, options, target });
      expect(info).toMatchObject(report);
      const again = `${name} from files`;
      const reloaded = await model.loadAdapter(target.files, { name: again });
      expect(reloaded.ranks).toEqual(report.ranks);
      expectSameBits(await model.logits(IDS, { soup: { [again]: 1 } }), live);

      const expected = result === "dense" ? 5 : /^cat|task_arithmetic/.test(method) ? 16 : 8;
      expect(report.ranks).toEqual([expected]);
      const truncates = /svd$/.test(method) || result === "dense";
      if (truncates) expect(report.relativeError).toBeGreaterThan(0.01);
      else expect(report).toMatchObject({ relativeError: 0, modules: 7 });
      if (truncates) expect(report.worst!.relativeError).toBeGreaterThan(report.relativeError);
      expect(report.relativeError).toBeLessThan(1);
    },
  );

  test("a merge is an adapter like any other: in soups, in merges, in files", async () => {
    const weights = { knowledge: 1, format: 1 };
    await model.merge({ method: "svd", weights }, { name: "dish" });
    await model.merge({ method: "cat", weights: { dish: 2, format: -1 } }, { name: "second" });
    const soup = await model.logits(IDS, { soup: { dish: 2, format: -1 } });
    const merged = await model.logits(IDS, { soup: { second: 1 } });
    expectClose(merged, soup, 1e-4); // f32 rounding of m A; logits are below 20
    const out = createMemorySink();
    await model.soup({ dish: 1 }).save(out);
    expect(new TextDecoder().decode(out.files["soup.json"])).toContain('"name": "dish"');
    await expect(model.merge({ method: "svd", weights }, { name: "dish" })).rejects.toMatchObject({
      code: "ADAPTER_DUPLICATE",
    });
  });

  test("what a merge wrote is written again bit for bit", async () => {
    const first = createMemorySink();
    const second = createMemorySink();
    const base = { model: kitchenPath("base"), method: "cat" };
    const adapters = ["knowledge", "format"].map((name) => ({
      name,
      source: kitchenPath(`adapters/${name}`),
      weight: 0.3,
    }));
    await mergeAdapters({ ...base, adapters, target: first });
    const whole = [{ name: "whole", source: first.files }];
    await mergeAdapters({ ...base, adapters: whole, target: second });
    expect(Object.keys(second.files)).toEqual(Object.keys(first.files));
    for (const [file, content] of Object.entries(first.files)) {
      expect(Buffer.from(second.files[file]!).equals(content), file).toBe(true);
    }
  });
});

describe("adapters of different ranks, targets and layers", () => {
  test("svd and dense methods take them, factors are not added", async () => {
    const model = await loadMicro();
    const weights = { a: 1, b: -0.5 };
    const linear = model.merge({ method: "linear", weights }, { name: "x" });
    await expect(linear).rejects.toThrow(/adapters' ranks differ: .*a: 4, b: 6.*Use svd, or cat/);
    const svd = await model.merge({ method: "svd", weights, svdRank: 10 }, { name: "svd" });
    expect(svd).toMatchObject({ ranks: [10] });
    expect(svd.relativeError).toBeLessThan(1e-6); // 4 + 6: nothing is cut off
    const soup = await model.logits(IDS, { soup: weights });
    expectClose(await model.logits(IDS, { soup: { svd: 1 } }), soup, 1e-4);
    // Asked for more than there is: filled up with zeros, to the smaller side of the weight.
    const wide = await model.merge({ method: "svd", weights, svdRank: 1000 }, { name: "wide" });
    expect(Math.max(...wide.ranks)).toBeGreaterThan(10);
    expectClose(await model.logits(IDS, { soup: { wide: 1 } }), soup, 1e-4);
    await model.dispose();
  });

  test("weights per layer leave layers to one adapter, or to none", async () => {
    const model = await loadMicro();
    const weights = { a: { layers: [1, 0] }, b: { layers: [0, 0.5] } };
    const info = await model.merge({ method: "linear", weights }, { name: "split" });
    expect(info.ranks).toEqual([4, 6]);
    const soup = await model.logits(IDS, { soup: weights });
    expectClose(await model.logits(IDS, { soup: { split: 1 } }), soup, 1e-4);
    const nothing = model.merge({ method: "svd", weights: { a: 0 } }, { name: "none" });
    await expect(nothing).rejects.toThrow(/nothing to merge.*all weights are 0/);
    await model.dispose();
  });

  test("the compatible scaling of rsLoRA results is PEFT's", async () => {
    const config = readJsonFile(goldenPath("micro/adapter_a"), "adapter_config.json");
    config.use_rslora = true;
    const source = {
      "adapter_config.json": new TextEncoder().encode(JSON.stringify(config)),
      "adapter_model.safetensors": readFileSync(
        goldenPath("micro/adapter_a/adapter_model.safetensors"),
      ),
    };
    const bs = [];
    for (const options of [{}, { compat: "peft" as const }]) {
      const target = createMemorySink();
      const adapters = [{ name: "a", source }];
      const model = goldenPath("micro");
      await mergeAdapters({ model, adapters, method: "linear", options, target });
      const reader = await loadModel(model, { backend: "reference" });
      await reader.loadAdapter(target.files, { name: "merged" });
      bs.push(await reader.logits(IDS, { soup: { merged: options.compat ? 1 / 2 : 1 } }));
      await reader.dispose();
    }
    expectClose(bs[1]!, bs[0]!, 1e-5); // √rank = 2
  });
});

describe("tureen merge", () => {
  test("--json tells what was written", async () => {
    const out = scratch.path("json");
    await merge({ ...KITCHEN, method: "svd", "svd-rank": "4", out, json: true });
    const report = JSON.parse(scratch.output());
    expect(report).toEqual({
      out,
      method: "svd",
      modules: 42,
      ranks: [4],
      relativeError: expect.any(Number),
      worst: { path: expect.stringContaining("layers."), relativeError: expect.any(Number) },
      soup: { knowledge: 1, format: 0.5 },
    });
  });

  test("tells people what truncation cost", async () => {
    await merge({ ...KITCHEN, method: "svd", out: scratch.path("people") });
    expect(scratch.notes()).toMatch(
      /^svd: 42 linear layers, rank 8\ntruncation lost \d\S* % of .*\(most: .*\)\nwrote .*people\/adapter_model.safetensors\n$/,
    );
  });

  test("--dtype bfloat16 rounds once", async () => {
    const out = scratch.path("bf16");
    await merge({ ...KITCHEN, dtype: "bfloat16", out });
    const size = readFileSync(`${out}/adapter_model.safetensors`).length;
    await merge({ ...KITCHEN, out: scratch.path("f32") });
    const whole = readFileSync(`${scratch.path("f32")}/adapter_model.safetensors`).length;
    expect(size).toBeLessThan(whole * 0.55);
    const model = await loadModel(kitchenPath("base"), { backend: "reference" });
    await model.loadAdapter(out, { name: "merged" });
    await model.dispose();
  });

  test.each<[string, Record<string, string | boolean>, RegExp]>([
    ["an unknown method", { method: "tie" }, /no merge method "tie".*Nearest: ties/],
    ["a missing density", { method: "ties" }, /"ties" needs density/],
    ["an option of other methods", { method: "cat", density: "0.5" }, /"cat" does not use density/],
    ["a density out of range", { method: "ties", density: "2" }, /density is invalid.*found 2/],
    ["a dense result", { method: "mergekit:della" }, /gives full weights.*svdRank.*full model/],
    ["an adapter that is not there", { weights: "knowledge=1,x=1" }, /no adapter is named "x"/],
    ["no number", { density: "much" }, /--density: expected a number, found "much"/],
    ["a wrong choice", { "majority-sign": "loud" }, /--majority-sign: expected total, frequency/],
    ["a wrong boolean", { normalize: "maybe" }, /--normalize: expected true, false/],
    ["a wrong size", { full: true, "shard-size": "5XB" }, /--shard-size: expected a size like 5GB/],
    ["too large for F16", { dtype: "float16", weights: "format=1e9" }, /too large for F16.*BF16/],
  ])("refuses %s", async (what, change, message) => {
    const out = scratch.path(`refused ${what}`);
    await expect(merge({ ...KITCHEN, ...change, out })).rejects.toThrow(message);
  });
});
