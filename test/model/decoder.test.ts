// The decoder's own behaviour, on tiny random models: chunks, caches, options, refusals.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { type Banks, Decoder } from "../../src/model/decoder.ts";
import { loadWeights } from "../../src/model/weights.ts";
import { backends } from "../support/backends.ts";
import {
  allLogits,
  blend,
  buildModel,
  freeModel,
  logitsInPasses,
  memoryCheckpoint,
  NO_BANKS,
  type Quantize,
  randomTensors,
  type TestModel,
  tinyConfig,
  tinyGemma3,
} from "../support/models.ts";
import { expectSameBits, maxDifference, randomValues } from "../support/values.ts";

const IDS = Array.from({ length: 37 }, (_, i) => (i * 17 + 3) % 61);

/** Options of the Llama family, each switched on at least once. */
const CONFIGS: Readonly<Record<string, ModelConfig>> = {
  plain: tinyConfig(),
  "tied, all biases": tinyConfig({
    tieWordEmbeddings: true,
    attentionBias: true,
    attentionOutputBias: true,
    mlpBias: true,
  }),
  "qkv bias, one KV head, llama3 rope": tinyConfig({
    attentionBias: true,
    heads: 3,
    kvHeads: 1,
    headDim: 8,
    ropeScaling: {
      type: "llama3",
      factor: 4,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalLength: 16,
    },
  }),
  "norms of heads": tinyConfig({ modelType: "qwen3", qkNorm: true, headDim: 16 }),
  "a layer without rope": tinyConfig({ modelType: "smollm3", noRopeLayers: [1] }),
  "Gemma 3": tinyGemma3(),
  "as many KV heads, linear rope": tinyConfig({
    kvHeads: 4,
    headDim: 20,
    ropeScaling: { type: "linear", factor: 2 },
  }),
};

const QUANTIZE: readonly Quantize[] = ["none", "q8", "q4"];

function build(
  backend: Backend,
  config: ModelConfig = tinyConfig(),
  options?: { quantize?: Quantize; chunkSize?: number },
): Promise<TestModel> {
  return buildModel(backend, config, memoryCheckpoint(randomTensors(config)), options);
}

/** Two adapters of different rank on every linear layer, the head included. */
function randomBanks({ backend, weights }: TestModel): Banks {
  const adapters = [5, 8].map((rank) => {
    const linears = [...weights.linears.values()];
    return new Map(
      linears.map(({ info: { path, rows, cols }, matrix }) => {
        const a = randomValues(rank * cols, rank, 0.3);
        const b = randomValues(rows * rank, rank + 1, 0.3);
        const data = { name: path, rank, rows, cols, a, b };
        return [path, { segment: backend.loadSegment(data, matrix.type), m: 1 }] as const;
      }),
    );
  });
  return blend(adapters, (_, i) => [0.8, -0.4][i]!);
}

describe.each(backends)("decoder on $name", ({ create, unavailable }) => {
  if (unavailable !== undefined) {
    test.skip(`is not available here: ${unavailable}`, () => undefined);
    return;
  }

  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    await backend.dispose();
  });

  describe.each(Object.keys(CONFIGS))("%s", (name) => {
    test.each(QUANTIZE)(
      "%s: chunks and passes of any size give the same bits",
      async (quantize) => {
        const config = CONFIGS[name]!;
        const model = await build(backend, config, { quantize });
        const banks = randomBanks(model);
        const whole = await logitsInPasses(model, IDS, [IDS.length], banks);
        expect(maxDifference(whole, await allLogits(model, IDS))).toBeGreaterThan(0.1);
        for (const chunkSize of [1, 5, 16]) {
          const decoder = new Decoder(backend, config, model.weights, { chunkSize });
          const chunked = { ...model, decoder };
          expectSameBits(await logitsInPasses(chunked, IDS, [IDS.length], banks), whole);
          decoder.dispose();
        }
        const ones = IDS.map(() => 1);
        expectSameBits(await logitsInPasses(model, IDS, ones, banks), whole);
        await fc.assert(
          fc.asyncProperty(
            fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }),
            async (cuts) => {
              expectSameBits(await logitsInPasses(model, IDS, sizesOf(cuts), banks), whole);
            },
          ),
          { numRuns: 5 },
        );
        freeModel(model);
      },
    );
  });

  test("last logits are the last row of all; none gives none but fills the cache", async () => {
    const model = await build(backend, tinyConfig(), { chunkSize: 8 });
    const { decoder, config } = model;
    const all = await allLogits(model, IDS);
    const lastRow = all.slice(-config.vocabSize);
    const cache = decoder.createCache(64);
    expect(await decoder.forward(IDS, 0, cache, NO_BANKS, "last")).toEqual(lastRow);
    const other = decoder.createCache(40);
    expect(await decoder.forward(IDS.slice(0, 36), 0, other, NO_BANKS, "none")).toBeUndefined();
    const next = await decoder.forward(IDS.slice(36), 36, other, NO_BANKS, "last");
    expect(next).toEqual(lastRow);
    freeModel(model);
  });

  test("going back in the cache forgets what came after", async () => {
    const model = await build(backend);
    const { decoder } = model;
    const cache = decoder.createCache(40);
    await decoder.forward(IDS, 0, cache, NO_BANKS, "none");
    const again = await decoder.forward([7, 8], 10, cache, NO_BANKS, "last");
    const fresh = await allLogits(model, [...IDS.slice(0, 10), 7, 8]);
    expect(again).toEqual(fresh.slice(-61));
    freeModel(model);
  });

  test("passes called at once run one after another", async () => {
    const model = await build(backend, tinyConfig(), { chunkSize: 4 });
    const { decoder } = model;
    const lists = [IDS, IDS.slice(5), IDS.slice(11)];
    const alone: Float32Array[] = [];
    for (const ids of lists) alone.push(await allLogits(model, ids));
    expect(await Promise.all(lists.map((ids) => allLogits(model, ids)))).toEqual(alone);
    const cache = decoder.createCache(40);
    const failing = decoder.forward(IDS, 0, cache, NO_BANKS, "last", AbortSignal.abort());
    const following = decoder.forward(IDS, 0, cache, NO_BANKS, "last");
    await expect(failing).rejects.toMatchObject({ code: "ABORTED" });
    expect(await following).toEqual(alone[0]!.slice(-61));
    freeModel(model);
  });

  test("an abort ends a long prefill between chunks", async () => {
    const model = await build(backend, tinyConfig(), { chunkSize: 1 });
    const controller = new AbortController();
    const positions = new Set<number>();
    model.decoder.onHidden = (_, position) => {
      positions.add(position);
      if (position === 3) setTimeout(() => controller.abort(), 0);
    };
    const cache = model.decoder.createCache(40);
    const pass = model.decoder.forward(IDS, 0, cache, NO_BANKS, "last", controller.signal);
    await expect(pass).rejects.toMatchObject({ code: "ABORTED" });
    expect(positions.size).toBeLessThan(IDS.length);
    freeModel(model);
  });
});

describe("refusals", () => {
  const { create } = backends[0]!;
  let model: TestModel;
  beforeAll(async () => {
    model = await build(await create());
  });

  test.each([
    ["a token id beyond the vocabulary", [1, 61], 0],
    ["a negative token id", [-1], 0],
    ["half a token id", [0.5], 0],
    ["more tokens than the cache holds", [1, 2, 3, 4, 5, 6, 7, 8, 9], 0],
    ["a position at the cache's end", [1], 8],
    ["a negative position", [1], -1],
    ["no tokens", [], 0],
  ])("%s", async (_, ids, position) => {
    const cache = model.decoder.createCache(8);
    const failure = model.decoder.forward(ids, position, cache, NO_BANKS, "last");
    const error = await failure.catch((reason: unknown) => reason as Error & { code: string });
    expect(error).toBeInstanceOf(Error);
    const { code, message } = error as Error & { code: string };
    expect(`${code}: ${message}`).toMatchSnapshot();
  });

  test.each([0, 65, 2.5])("a context of %d positions", (length) => {
    expect(() => model.decoder.createCache(length)).toThrowErrorMatchingSnapshot();
  });

  test("a chunk size of 0", () => {
    const { backend, config, weights } = model;
    expect(() => new Decoder(backend, config, weights, { chunkSize: 0 })).toThrow("chunkSize");
  });

  test("a pass after dispose", async () => {
    const own = await build(await create());
    const cache = own.decoder.createCache(8);
    own.decoder.dispose();
    own.decoder.dispose();
    const pass = own.decoder.forward([1], 0, cache, NO_BANKS, "last");
    await expect(pass).rejects.toMatchObject({ code: "DISPOSED" });
  });

  test("tied weights are packed once", async () => {
    const config = tinyConfig({ tieWordEmbeddings: true });
    const backend = await create();
    const checkpoint = memoryCheckpoint(randomTensors(config));
    const weights = await loadWeights(checkpoint, config, backend);
    expect(weights.lmHead.matrix).toBe(weights.embedding);
    let total = 0;
    for (const { nBytes } of checkpoint.tensors.values()) total += nBytes;
    expect(weights.nBytes).toBe(total);
  });
});

/** Cuts `IDS` into these sizes, repeated until it is used up. */
function sizesOf(cuts: readonly number[]): number[] {
  const sizes: number[] = [];
  let left = IDS.length;
  for (let i = 0; left > 0; i++) {
    const size = Math.min(left, cuts[i % cuts.length]!);
    sizes.push(size);
    left -= size;
  }
  return sizes;
}
