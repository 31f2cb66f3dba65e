// Folding: W' = W + Σ m B A in the live model, its undoing, and as a file.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createMemorySink, loadModel, type Model } from "../../src/index.ts";
import { foldRows } from "../../src/soup/fold.ts";
import { BACKENDS, goldenPath, loadKitchen, loadMicro } from "../support/kitchen.ts";

const IDS = [1, 17, 250, 3, 99, 42, 8];
const WEIGHTS = { a: 0.7, b: -0.4 };

function maxDifference(x: Float32Array, y: Float32Array): number {
  return x.reduce((max, value, i) => Math.max(max, Math.abs(value - y[i]!)), 0);
}

test("foldRows adds m B A, summed in f64 and rounded once", () => {
  // rows 1..2 of a 3 × 2 weight, two adapters of rank 1 and 2
  const weight = Float32Array.of(1, 2, 3, 4);
  const parts = [
    { m: 0.5, rank: 1, a: Float32Array.of(2, 4), b: Float32Array.of(9, 1, 2) },
    {
      m: -1,
      rank: 2,
      a: Float32Array.of(1, 0, 0, 1),
      b: Float32Array.of(9, 9, 1, 2, 3, 4),
    },
  ];
  foldRows(weight, 1, 2, parts);
  expect([...weight]).toEqual([1 + 1 - 1, 2 + 2 - 2, 3 + 2 - 3, 4 + 4 - 4]);
});

describe.each(BACKENDS)("on $backend", (options) => {
  test("a folded soup gives the soup's logits, and unfold restores them bit for bit", async () => {
    const model = await loadMicro(options);
    const base = await model.logits(IDS, { all: true });
    const soup = await model.logits(IDS, { all: true, soup: WEIGHTS });
    await model.fold(WEIGHTS);
    expect(model.isFolded).toBe(true);
    const folded = await model.logits(IDS, { all: true });
    // Rounding W + Δ to f32 perturbs each weight by at most 2^-24 |w|; logits here are below 10 and shift by less than 1e-4.
    expect(maxDifference(folded, soup)).toBeLessThan(1e-4);
    expect(maxDifference(folded, base)).toBeGreaterThan(0.1);
    await model.fold({ a: 1 }); // replaces the first
    const other = await model.logits(IDS, { all: true, soup: { b: 0.5 } }); // and takes a soup on top
    await model.unfold();
    expect(await model.logits(IDS, { all: true })).toEqual(base);
    const both = await model.logits(IDS, { all: true, soup: { a: 1, b: 0.5 } });
    expect(maxDifference(other, both)).toBeLessThan(1e-4);
    await model.dispose();
  });

  test("unfold restores quantized weights bit for bit", async () => {
    const model = await loadMicro({ ...options, quantize: "q8" });
    const base = await model.logits(IDS);
    await model.fold({ a: 2 });
    expect(await model.logits(IDS)).not.toEqual(base);
    await model.unfold();
    expect(await model.logits(IDS)).toEqual(base);
    await model.dispose();
  });
});

describe("saveFolded", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadMicro();
  });
  afterAll(() => model.dispose());

  test("writes a model whose base is the soup", async () => {
    const sink = createMemorySink();
    const progress: number[] = [];
    const onProgress = (done: number, total: number) => progress.push(done / total);
    await model.saveFolded(WEIGHTS, sink, { onProgress });
    expect(Object.keys(sink.files)).toEqual([
      "model.safetensors",
      "config.json",
      "generation_config.json",
    ]);
    expect(progress.at(-1)).toBe(1);
    const folded = await loadModel(sink.files, { backend: "reference" });
    await model.fold(WEIGHTS);
    // The file holds what the live fold computes: f32 weights, the same rounding.
    expect(await folded.logits(IDS)).toEqual(await model.logits(IDS));
    await model.unfold();
    await folded.dispose();
  });

  test("a soup of weight 0 copies the base byte for byte", async () => {
    const sink = createMemorySink();
    await model.saveFolded({ a: 0 }, sink);
    const copy = await loadModel(sink.files, { backend: "reference" });
    expect(await copy.logits(IDS)).toEqual(await model.logits(IDS));
    await copy.dispose();
  });

  test("f16 files stay f16", async () => {
    const { readFileSync } = await import("node:fs");
    const { openSafetensors } = await import("../../src/formats/safetensors.ts");
    const { openMemory } = await import("../../src/sources/memory.ts");
    const { writeSafetensors, collectBytes } = await import(
      "../../src/formats/safetensors-writer.ts"
    );
    const { fromFloat32, toFloat32 } = await import("../../src/formats/float.ts");
    const bytes = readFileSync(goldenPath("micro/model.safetensors"));
    const source = await openSafetensors(openMemory("model.safetensors", bytes));
    const half = await collectBytes(
      writeSafetensors(
        [...source.tensors.values()].map(({ name, shape }) => ({
          name,
          shape,
          dtype: "F16" as const,
          data: async () => fromFloat32(toFloat32(await source.read(name), "F32"), "F16"),
        })),
        {},
      ),
    );
    const files = {
      "config.json": readFileSync(goldenPath("micro/config.json")),
      "model.safetensors": half,
    };
    const small = await loadModel(files, { backend: "reference" });
    await small.loadAdapter(goldenPath("micro/adapter_a"), { name: "a" });
    const sink = createMemorySink();
    await small.saveFolded({ a: 1 }, sink);
    const written = await openSafetensors(openMemory("x", sink.files["model.safetensors"]!));
    expect(new Set([...written.tensors.values()].map(({ dtype }) => dtype))).toEqual(
      new Set(["F16"]),
    );
    const folded = await loadModel(sink.files, { backend: "reference" });
    const difference = maxDifference(
      await folded.logits(IDS),
      await small.logits(IDS, { soup: { a: 1 } }),
    );
    // One rounding of each weight to f16, 2^-11 of its size.
    expect(difference).toBeLessThan(0.05);
    expect(difference).toBeGreaterThan(0);
    await folded.dispose();
    await small.dispose();
  });
});

test("a soup on lm_head is refused where the head is the embedding", async () => {
  const model = await loadKitchen();
  const { createRandomAdapter } = await import("../../src/cli/random-model.ts");
  const config = { ...model.config };
  const files = await createRandomAdapter(config, 2, 1);
  // The same adapter, with lm_head beside one other layer.
  const { writeSafetensors, collectBytes } = await import(
    "../../src/formats/safetensors-writer.ts"
  );
  const factor = (name: string, rows: number, cols: number) => ({
    name: `base_model.model.lm_head.lora_${name}.weight`,
    dtype: "F32" as const,
    shape: [rows, cols],
    data: () => new Uint8Array(new Float32Array(rows * cols).fill(0.01).buffer),
  });
  files["adapter_config.json"] = new TextEncoder().encode(
    JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["lm_head"] }),
  );
  files["adapter_model.safetensors"] = await collectBytes(
    writeSafetensors([factor("A", 2, config.hiddenSize), factor("B", config.vocabSize, 2)], {}),
  );
  await model.loadAdapter(files, { name: "head" });
  const base = await model.logits([1, 2, 3]);
  await expect(model.fold({ head: 1 })).rejects.toMatchObject({
    code: "SOUP_INVALID",
    message: expect.stringContaining("tie_word_embeddings"),
  });
  await expect(model.saveFolded({ head: 1 }, createMemorySink())).rejects.toMatchObject({
    code: "SOUP_INVALID",
  });
  expect(await model.logits([1, 2, 3])).toEqual(base);
  expect(await model.logits([1, 2, 3], { soup: { head: 1 } })).not.toEqual(base);
  await model.dispose();
});
