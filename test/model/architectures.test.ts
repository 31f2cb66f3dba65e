// Qwen3, whose q and k heads are normed, SmolLM3, some of whose layers do not rotate them, and Gemma 3, most of whose layers see a window, against an f64 implementation that
// shares nothing with the engine: logits of one pass and of single tokens, with two adapters on all linear layers, and the gradient of their weights.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, SoupEntry } from "../../src/backend/backend.ts";
import { BackwardPass } from "../../src/learn/backward.ts";
import { listLinears, type ModelConfig } from "../../src/model/config.ts";
import { backendsAndGpu } from "../support/backends.ts";
import {
  allLogits,
  blend,
  buildModel,
  freeModel,
  type GoldenTensor,
  logitsInPasses,
  memoryCheckpoint,
  randomTensors,
  type TestModel,
  tinyConfig,
  tinyGemma3,
} from "../support/models.ts";
import { type PlainAdapter, type PlainShape, plainDecoder } from "../support/plain-decoder.ts";
import { expectClose, maxAbs, maxDifference, randomValues } from "../support/values.ts";

const qwen3 = { modelType: "qwen3", qkNorm: true, rmsNormEps: 1e-6, ropeTheta: 1e6 };
const SHAPES: Record<string, ModelConfig> = {
  Qwen3: tinyConfig({ ...qwen3, headDim: 16 }),
  "Qwen3, heads of 128, one for keys": tinyConfig({ ...qwen3, heads: 2, kvHeads: 1, headDim: 128 }),
  "Qwen3, heads wider than a workgroup": tinyConfig({
    ...qwen3,
    heads: 2,
    kvHeads: 1,
    headDim: 160,
  }),
  SmolLM3: tinyConfig({ modelType: "smollm3", noRopeLayers: [1], headDim: 16 }),
  "Gemma 3": tinyGemma3(),
  "Gemma 3, one head for keys, positions scaled": tinyGemma3({
    heads: 3,
    kvHeads: 1,
    ropeScaling: { type: "linear", factor: 8 },
  }),
};
const IDS = [3, 20, 37, 54, 10, 27, 44, 0, 17, 34, 51];
const WEIGHTS = [0.8, -0.5];
/** Of predicting the next id, in the loss. */
const SCORED = IDS.slice(1).map((_, t) => [0.1, 0, 0.3][t % 3]!);

interface Setup {
  readonly config: ModelConfig;
  readonly tensors: ReadonlyMap<string, GoldenTensor>;
  readonly adapters: readonly PlainAdapter[];
  readonly logits: readonly number[];
  /** What rounding to f32 costs: another order of the same f32 sums differs no more than some times that. */
  readonly cost: number;
  readonly loss: number;
  /** By the weight of each adapter at each linear layer [linears, adapters]. */
  readonly gradient: readonly number[];
}

/** What `tinyGemma3` means, in other words. */
function plainShape(config: ModelConfig): PlainShape {
  const { modelType, layers, ropeScaling } = config;
  if (modelType !== "gemma3_text") return config;
  const factor = ropeScaling?.factor ?? 1;
  const fullLayers = [layers - 1];
  return { ...config, gemma3: { scalar: 24, window: 4, localTheta: 10000, factor, fullLayers } };
}

function setUp(config: ModelConfig): Setup {
  const tensors = randomTensors(config);
  const adapters = [5, 8].map((rank, i) => ({
    rank,
    tensors: adapterTensors(config, rank),
    factor: () => WEIGHTS[i]!,
  }));
  const logits = plainDecoder(tensors, plainShape(config), adapters, IDS).flat();
  const rounded = plainDecoder(tensors, plainShape(config), adapters, IDS, Math.fround).flat();
  const lossAt = (path = "", which = 0, change = 0): number => {
    const changed = adapters.map((adapter, i) => ({
      ...adapter,
      factor: (at: string) => WEIGHTS[i]! + (at === path && i === which ? change : 0),
    }));
    return crossEntropy(plainDecoder(tensors, plainShape(config), changed, IDS));
  };
  // central differences: their errors, h² L‴ / 6 and 1e-16 / h, are far below what f32 costs
  const h = 1e-4;
  const gradient = listLinears(config).flatMap(({ path }) =>
    [0, 1].map((i) => (lossAt(path, i, h) - lossAt(path, i, -h)) / (2 * h)),
  );
  const cost = maxDifference(rounded, logits);
  return { config, tensors, adapters, logits, cost, loss: lossAt(), gradient };
}

function crossEntropy(logits: readonly (readonly number[])[]): number {
  return SCORED.reduce((sum, weight, t) => {
    const row = logits[t]!;
    const most = Math.max(...row);
    const total = row.reduce((all, logit) => all + Math.exp(logit - most), 0);
    return sum + weight * (Math.log(total) + most - row[IDS[t + 1]!]!);
  }, 0);
}

function adapterTensors(config: ModelConfig, rank: number): Map<string, GoldenTensor> {
  const tensors = new Map<string, GoldenTensor>();
  const add = (name: string, rows: number, cols: number): void => {
    const values = randomValues(rows * cols, rank + tensors.size, 1 / Math.sqrt(cols));
    tensors.set(name, { shape: [rows, cols], values });
  };
  for (const { path, rows, cols } of listLinears(config)) {
    add(`base_model.model.${path}.lora_A.weight`, rank, cols);
    add(`base_model.model.${path}.lora_B.weight`, rows, rank);
  }
  return tensors;
}

function loadAdapter({ backend, config }: TestModel, { rank, tensors }: PlainAdapter) {
  const entries = listLinears(config).map(({ path, rows, cols }) => {
    const factor = (which: string): Float32Array =>
      Float32Array.from(tensors.get(`base_model.model.${path}.lora_${which}.weight`)!.values);
    const data = { name: path, rank, rows, cols, a: factor("A"), b: factor("B") };
    return [path, { segment: backend.loadSegment(data, "f32"), m: 1 }] as const;
  });
  return new Map<string, SoupEntry>(entries);
}

const setups = new Map<string, Setup>();
beforeAll(() => {
  for (const [name, config] of Object.entries(SHAPES)) setups.set(name, setUp(config));
});

test("the norms of heads count, and so does where nothing is rotated", () => {
  const { config, tensors, adapters, logits, cost } = setups.get("Qwen3")!;
  for (const which of ["q", "k"]) {
    const name = `model.layers.1.self_attn.${which}_norm.weight`;
    const ones = new Map(tensors).set(name, { shape: [16], values: new Float32Array(16).fill(1) });
    const others = plainDecoder(ones, plainShape(config), adapters, IDS).flat();
    expect(maxDifference(others, logits)).toBeGreaterThan(1000 * cost);
  }
  const smol = setups.get("SmolLM3")!;
  for (const noRopeLayers of [[], [0], [0, 1]]) {
    const changed = { ...smol.config, noRopeLayers };
    const others = plainDecoder(smol.tensors, changed, smol.adapters, IDS).flat();
    expect(maxDifference(others, smol.logits)).toBeGreaterThan(1000 * smol.cost);
  }
});

test("Gemma 3's windows, scalar, rotations and scaled positions count", () => {
  const { config, tensors, adapters, logits, cost } = setups.get(
    "Gemma 3, one head for keys, positions scaled",
  )!;
  const { gemma3, ...shape } = plainShape(config);
  for (const change of [
    { window: 3 },
    { window: 5 },
    { scalar: 16 },
    { localTheta: 1e6 },
    { factor: 1 },
    { fullLayers: [0] },
  ]) {
    const changed = { ...shape, gemma3: { ...gemma3!, ...change } };
    const others = plainDecoder(tensors, changed, adapters, IDS).flat();
    expect(maxDifference(others, logits)).toBeGreaterThan(1000 * cost);
  }
});

describe.each(backendsAndGpu)("on $name", ({ name, create, unavailable }) => {
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

  describe.each(Object.keys(SHAPES))("%s", (shape) => {
    let setup: Setup;
    let model: TestModel;
    let loaded: Map<string, SoupEntry>[];
    beforeAll(async () => {
      setup = setups.get(shape)!;
      model = await buildModel(backend, setup.config, memoryCheckpoint(setup.tensors));
      loaded = setup.adapters.map((adapter) => loadAdapter(model, adapter));
    });
    afterAll(() => freeModel(model));

    test("logits of a prompt, and of one token after another", async () => {
      const banks = blend(loaded, (_, i) => WEIGHTS[i]!);
      // as in golden.test.ts: a GPU's roots, quotients and e^x are off by two ulp and more
      const bound = (name === "webgpu" ? 20 : 10) * setup.cost;
      expectClose(await allLogits(model, IDS, banks), setup.logits, bound);
      const ones = IDS.map(() => 1);
      expectClose(await logitsInPasses(model, IDS, ones, banks), setup.logits, bound);
    });

    // The promise for f32 weights: 1e-4 of every gradient (backward.test.ts).
    test("the gradient of the adapters' weights", async () => {
      const paths = listLinears(setup.config).map(({ path }) => path);
      const pass = new BackwardPass(backend, setup.config, model.weights, {
        maxTokens: IDS.length,
        slots: 2 * paths.length,
      });
      const slots = new Map(paths.map((path, i) => [path, [2 * i, 2 * i + 1]]));
      const banks = blend(loaded, (_, i) => WEIGHTS[i]!);
      const loss = await pass.accumulate({ ids: IDS, weights: SCORED }, banks, slots);
      const gradient = await pass.takeGradient();
      pass.dispose();
      expect(Math.abs(loss - setup.loss)).toBeLessThan(1e-5 * setup.loss);
      const smallest = 1e-6 * maxAbs(setup.gradient); // entries that nearly cancel
      const bound = (slot: number): number => 1e-4 * Math.abs(setup.gradient[slot]!) + smallest;
      expectClose(gradient, setup.gradient, bound);
    });
  });
});
