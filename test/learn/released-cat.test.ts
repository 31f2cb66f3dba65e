// Adapters as LoRA Soups' released code saves them: a logit beside every pair of factors.
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadModel } from "../../src/api/load-model.ts";
import type { Model } from "../../src/api/model.ts";
import { tinyAdapterFiles, tinyModelFiles } from "./tiny-model.ts";

const targets = ["q_proj", "v_proj"];
let model: Model;

beforeEach(async () => {
  model = await loadModel(await tinyModelFiles(), { backend: "reference" });
});
afterEach(() => model.dispose());

async function load(
  name: string,
  seed: number,
  logit?: (path: string) => { name: string; values: number[] } | undefined,
  own: readonly string[] = targets,
): Promise<void> {
  await model.loadAdapter(await tinyAdapterFiles(own, seed, logit && { logit }), { name });
}

/** 0.1 × layer + what tells linear layers apart. */
function value(path: string, sign: number): number {
  return sign * (0.25 * Number(path.split(".")[2]) + (path.endsWith("v_proj") ? 1.5 : 0.5));
}

test("gives the softmax over the adapters, in every linear layer", async () => {
  await load("x", 1, (path) => ({ name: "lora_learnable_weights", values: [value(path, 1)] }));
  await load("y", 2, (path) => ({
    name: "lora_learnable_weights.adapter_1",
    values: [value(path, -1)],
  }));
  const soup = await model.catSoup();
  const weights = soup.weights as Record<string, { linears: Record<string, number> }>;
  const paths = Object.keys(weights.x!.linears);
  expect(paths.length).toBe(4);
  for (const path of paths) {
    const expected = 1 / (1 + Math.exp(-2 * value(path, 1)));
    expect(weights.x!.linears[path]).toBeCloseTo(expected, 12);
    expect(weights.y!.linears[path]).toBeCloseTo(1 - expected, 12);
  }
  const logits = await model.logits([1, 7, 30], { soup });
  expect(logits).not.toEqual(await model.logits([1, 7, 30], { soup: { x: 0.5, y: 0.5 } }));
  expect((await model.catSoup(["y", "x"])).weights).toEqual(soup.weights);
});

test("the adapters load as plain ones, too", async () => {
  await load("x", 1, () => ({ name: "lora_learnable_weights", values: [3] }));
  await load("plain", 1);
  const ids = [1, 7, 30];
  const logits = await model.logits(ids, { soup: { x: 1 } });
  expect(await model.logits(ids, { soup: { plain: 1 } })).toEqual(logits);
});

test("refuses adapters without, with some, or with strange ones", async () => {
  const own = (values: number[]) => () => ({ name: "lora_learnable_weights", values });
  await load("x", 1, own([0.5]));
  await expect(model.catSoup()).rejects.toMatchObject({ code: "SOUP_INVALID" });
  await load("plain", 2);
  await expect(model.catSoup()).rejects.toThrow(/"plain" carries no learned weights/);
  await load("some", 3, (path) => (path.includes("layers.1") ? undefined : own([1])()));
  await expect(model.catSoup(["x", "some"])).rejects.toThrow(/layers\.1/);
  await load("two", 4, own([1, 2]));
  await expect(model.catSoup(["x", "two"])).rejects.toMatchObject({ code: "ADAPTER_MISMATCH" });
  await load("nan", 5, own([Number.NaN]));
  await expect(model.catSoup(["x", "nan"])).rejects.toMatchObject({ code: "WEIGHTS_NOT_FINITE" });
  await expect(model.catSoup(["x", "nobody"])).rejects.toMatchObject({ code: "ADAPTER_NOT_FOUND" });
});

test("a logit without factors is refused with the file", async () => {
  const files = await tinyAdapterFiles(["q_proj"], 1, {
    logit: () => ({ name: "../v_proj.lora_learnable_weights", values: [1] }),
  });
  await expect(model.loadAdapter(files, { name: "x" })).rejects.toMatchObject({
    code: "ADAPTER_MISMATCH",
  });
});
