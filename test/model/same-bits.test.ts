// The same model, soup and prompt give the same bits on every wasm build and with any number of threads.

import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import type { ModelConfig } from "../../src/model/config.ts";
import { wasmBackends } from "../support/backends.ts";
import {
  blend,
  buildModel,
  loadAdapterFolder,
  loadModelFolder,
  memoryCheckpoint,
  NO_BANKS,
  randomTensors,
  readJsonFile,
  tinyConfig,
  tinyGemma3,
} from "../support/models.ts";
import { expectSameBits } from "../support/values.ts";

const kitchen = fileURLToPath(new URL("../../demo/kitchen", import.meta.url));

const goldens = fileURLToPath(new URL("../golden/kitchen", import.meta.url));

const available = wasmBackends.filter(({ unavailable }) => unavailable === undefined);

describe("every wasm build and thread count", () => {
  test("there are several to compare", () => {
    expect(available.length).toBeGreaterThan(1);
  });

  test.each(["none", "q8", "q4"] as const)("gives the same bits in %s", async (quantize) => {
    const weights: Record<string, number[]> = readJsonFile(
      kitchen,
      "adapters/cat_weights.json",
    ).weights;
    const results: Result[] = [];
    for (const { name, create } of available) {
      const backend = await create();
      const model = await loadModelFolder(backend, `${kitchen}/base`, { quantize, chunkSize: 16 });
      const type = quantize === "none" ? "f32" : quantize;
      const adapters = [
        await loadAdapterFolder(model, `${kitchen}/adapters/knowledge`, type),
        await loadAdapterFolder(model, `${kitchen}/adapters/format`, type),
      ];
      const soup = blend(adapters, (path, i) => weights[path]![i]!);
      results.push({ name, ...(await generate(model, soup)) });
      await backend.dispose();
    }
    expectAlike(results);
  });

  test.each(["none", "q8", "q4"] as const)("likewise with norms of heads, %s", async (quantize) => {
    const shape = { modelType: "qwen3", qkNorm: true, headDim: 32, vocabSize: 768 };
    await expectAlikeOf(tinyConfig({ ...shape, maxPositions: 256 }), quantize);
  });

  // the prompt's chunks and the steps cross windows, and blocks of 64 keys
  test.each(["none", "q8", "q4"] as const)("likewise Gemma 3, %s", async (quantize) => {
    const shape = { heads: 3, kvHeads: 1, headDim: 32, vocabSize: 768, maxPositions: 256 };
    await expectAlikeOf(tinyGemma3(shape, { window: 20 }), quantize);
  });

  async function expectAlikeOf(config: ModelConfig, quantize: "none" | "q8" | "q4"): Promise<void> {
    const checkpoint = memoryCheckpoint(randomTensors(config));
    const results: Result[] = [];
    for (const { name, create } of available) {
      const backend = await create();
      const model = await buildModel(backend, config, checkpoint, { quantize, chunkSize: 16 });
      results.push({ name, ...(await generate(model, NO_BANKS)) });
      await backend.dispose();
    }
    expectAlike(results);
  }
});

interface Result {
  readonly name: string;
  readonly ids: number[];
  readonly logits: Float32Array;
}

function expectAlike([first, ...others]: readonly Result[]): void {
  expect(first!.logits.some((value) => !Number.isFinite(value))).toBe(false);
  for (const other of others) {
    expect(other.ids, `${other.name} against ${first!.name}`).toEqual(first!.ids);
    expectSameBits(other.logits, first!.logits, `${other.name} against ${first!.name}`);
  }
}

/** A prefill of more than one chunk with all its logits, then greedy steps with theirs. */
async function generate(
  { decoder, config }: Awaited<ReturnType<typeof loadModelFolder>>,
  soup: ReturnType<typeof blend>,
): Promise<{ ids: number[]; logits: Float32Array }> {
  const steps = 24;
  const ids: number[] = [...readJsonFile(goldens, "prompts.json").ids[0]];
  const { vocabSize } = config;
  const logits = new Float32Array((ids.length + steps) * vocabSize);
  const cache = decoder.createCache(ids.length + steps);
  logits.set((await decoder.forward(ids, 0, cache, soup, "all"))!);
  for (let step = 0; step < steps; step++) {
    const last = logits.subarray((ids.length - 1) * vocabSize, ids.length * vocabSize);
    ids.push(last.indexOf(Math.max(...last)));
    const next = await decoder.forward(ids.slice(-1), ids.length - 1, cache, soup, "last");
    logits.set(next!, (ids.length - 1) * vocabSize);
  }
  return { ids, logits };
}
