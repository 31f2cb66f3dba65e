// The decoder's backward pass against PyTorch's autograd in float64: test/golden/kitchen/README.md, cat_grad.safetensors.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Backend, SoupEntry } from "../../src/backend/backend.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { BackwardPass, type TrainingExample } from "../../src/learn/backward.ts";
import type { DecoderWeights } from "../../src/model/weights.ts";
import { openFileSet } from "../../src/sources/open.ts";
import { backendsAndGpu } from "../support/backends.ts";
import {
  freeModel,
  loadAdapterFolder,
  loadModelFolder,
  type TestModel,
  tinyConfig,
} from "../support/models.ts";
import { EPS, expectClose, maxAbs } from "../support/values.ts";

// A software renderer takes half a minute where it has two cores to itself.
vi.setConfig({ testTimeout: 180_000 });

const goldens = fileURLToPath(new URL("../golden/kitchen", import.meta.url));
const kitchen = fileURLToPath(new URL("../../demo/kitchen", import.meta.url));

const setups = [
  {
    name: "micro",
    base: `${goldens}/micro`,
    adapters: [`${goldens}/micro/adapter_a`, `${goldens}/micro/adapter_b`],
    folder: `${goldens}/micro`,
    scalings: [2, 1.5],
  },
  {
    name: "kitchen",
    base: `${kitchen}/base`,
    adapters: [`${kitchen}/adapters/knowledge`, `${kitchen}/adapters/format`],
    folder: goldens,
    scalings: [2, 2],
  },
];

interface Golden {
  readonly examples: readonly TrainingExample[];
  /** Linear layers, in the order of the gradient's rows. */
  readonly paths: readonly string[];
  /** [paths, 2] */
  readonly raw: Float64Array;
  readonly loss: Readonly<Record<string, number>>;
  /** [paths, 2] */
  readonly gradient: Readonly<Record<string, Float64Array>>;
}

async function readGolden(folder: string): Promise<Golden> {
  const source = await (await openFileSet(folder)).open("cat_grad.safetensors");
  const checkpoint = await openSafetensors(source!);
  const doubles = async (name: string): Promise<Float64Array> =>
    new Float64Array((await checkpoint.read(name)).slice().buffer);
  const ids = checkpoint.tensors.get("ids")!.shape;
  const tokens = new Int32Array((await checkpoint.read("ids")).slice().buffer);
  const mask = new Float32Array((await checkpoint.read("loss_mask")).slice().buffer);
  const [count, length] = ids as [number, number];
  const total = mask.reduce((a, b) => a + b, 0);
  const examples = Array.from({ length: count }, (_, i) => ({
    ids: Array.from(tokens.subarray(i * length, (i + 1) * length)),
    weights: Array.from(mask.subarray(i * (length - 1), (i + 1) * (length - 1)), (w) => w / total),
  }));
  const golden = {
    examples,
    paths: checkpoint.metadata.rows!.split(","),
    raw: await doubles("alpha_raw"),
    loss: {
      softmax: (await doubles("softmax.loss.f64"))[0]!,
      free: (await doubles("free.loss.f64"))[0]!,
    },
    gradient: {
      softmax: await doubles("softmax.grad.f64"),
      free: await doubles("free.grad.f64"),
    },
  };
  await checkpoint.close();
  return golden;
}

/** The two weights of one linear layer. */
function weightsOf(mode: string, a: number, b: number): [number, number] {
  if (mode === "free") return [a, b];
  const first = 1 / (1 + Math.exp(b - a));
  return [first, 1 - first];
}

describe.each(backendsAndGpu.filter(({ unavailable }) => unavailable === undefined))(
  "backward pass on $name",
  ({ create }) => {
    describe.each(setups)("$name", ({ base, adapters, folder, scalings }) => {
      let model: TestModel;
      let golden: Golden;
      let loaded: ReadonlyMap<string, SoupEntry>[];

      beforeAll(async () => {
        const backend = await create();
        model = await loadModelFolder(backend, base);
        loaded = [];
        for (const adapter of adapters) loaded.push(await loadAdapterFolder(model, adapter));
        golden = await readGolden(folder);
      });
      afterAll(async () => {
        freeModel(model);
        await model.backend.dispose();
      });

      // The project's promise for f32 weights is 1e-4 of every gradient. It sums over some 100 tokens and through up to 6
      // layers; torch's own f32 run differs from its f64 run by 1e-6 of the largest.
      test.for(["softmax", "free"])("agrees with float64 autograd: %s", async (mode, { skip }) => {
        const { backend, config, weights } = model;
        skip(backend.gradients === undefined, "this backend has no backward pass");
        const banks = new Map<string, SoupEntry[]>();
        const slots = new Map<string, number[]>();
        golden.paths.forEach((path, row) => {
          const pair = weightsOf(mode, golden.raw[2 * row]!, golden.raw[2 * row + 1]!);
          banks.set(
            path,
            loaded.map((adapter, i) => ({
              segment: adapter.get(path)!.segment,
              m: Math.fround(pair[i]! * scalings[i]!),
            })),
          );
          slots.set(path, [2 * row, 2 * row + 1]);
        });
        const count = 2 * golden.paths.length;
        const pass = new BackwardPass(backend, config, weights, { maxTokens: 64, slots: count });
        let loss = 0;
        for (const [i, example] of golden.examples.entries()) {
          const one = await pass.accumulate(example, banks, slots);
          if (i === 0) expect(await pass.loss(example, banks)).toBe(one); // forward only
          loss += one;
        }
        const dM = await pass.takeGradient();
        expect(maxAbs(await pass.takeGradient())).toBe(0);
        pass.dispose();

        expect(Math.abs(loss - golden.loss[mode]!)).toBeLessThan(200 * EPS * golden.loss[mode]!);
        const expected = golden.gradient[mode]!;
        const actual = Float64Array.from(expected, (_, slot) => {
          const row = slot - (slot % 2);
          const scaled = [0, 1].map((i) => dM[row + i]! * scalings[i]!);
          if (mode === "free") return scaled[slot % 2]!;
          const [a, b] = weightsOf(mode, golden.raw[row]!, golden.raw[row + 1]!);
          const mean = a * scaled[0]! + b * scaled[1]!;
          return (slot % 2 === 0 ? a : b) * (scaled[slot % 2]! - mean);
        });
        const smallest = 1e-6 * maxAbs(expected); // entries that nearly cancel
        expectClose(actual, expected, (slot) => 1e-4 * Math.abs(expected[slot]!) + smallest);
      });
    });
  },
);

test("a backend without gradients is refused", async () => {
  const backend = { name: "webgpu", build: "none", gradients: undefined } as unknown as Backend;
  const create = (): BackwardPass =>
    new BackwardPass(backend, tinyConfig(), {} as DecoderWeights, { maxTokens: 4, slots: 1 });
  expect(create).toThrow(expect.objectContaining({ code: "BACKEND_UNAVAILABLE" }));
});
