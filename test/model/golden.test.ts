// The decoder against numbers computed in f64 by PyTorch, transformers and PEFT: test/golden/kitchen (its README says how)
// and, where it is present, the shared stories260K.
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import type { Banks } from "../../src/model/decoder.ts";
import { backendsAndGpu } from "../support/backends.ts";
import {
  allLogits,
  blend,
  type GoldenTensor,
  greedy,
  loadAdapterFolder,
  loadModelFolder,
  NO_BANKS,
  readJsonFile,
  readTensors,
  type TestModel,
} from "../support/models.ts";
import { expectClose, maxAbs } from "../support/values.ts";

const goldens = fileURLToPath(new URL("../golden/kitchen", import.meta.url));
const kitchen = fileURLToPath(new URL("../../demo/kitchen", import.meta.url));

/** Ten times what torch's own f32 run differs from f64: another order of the same f32 sums. */
const report = readJsonFile(goldens, "report.json");
const kitchenDifference: Record<string, number> = report["io.max_abs_diff_f32_vs_f64"];
const microDifference: Record<string, number> = report["micro.io.max_abs_diff_f32_vs_f64"];

interface Greedy {
  setup: string;
  prompt_ids: number[];
  new_ids: number[];
  min_top2_margin: number;
}

describe.each(backendsAndGpu)("goldens on $name", ({ name, create, unavailable }) => {
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

  describe("kitchen", () => {
    let model: TestModel;
    let io: Map<string, GoldenTensor>;
    const setups = new Map<string, Banks>([["base", NO_BANKS]]);

    beforeAll(async () => {
      model = await loadModelFolder(backend, `${kitchen}/base`);
      io = await readTensors(goldens, "io.safetensors");
      const knowledge = await loadAdapterFolder(model, `${kitchen}/adapters/knowledge`);
      const format = await loadAdapterFolder(model, `${kitchen}/adapters/format`);
      const { weights } = readJsonFile(kitchen, "adapters/cat_weights.json");
      setups.set("knowledge", blend([knowledge]));
      setups.set("format", blend([format]));
      setups.set(
        "soup",
        blend([knowledge, format], (path, i) => weights[path][i]),
      );
      expect(knowledge.size).toBe(42);
    });

    test.each(Object.entries(kitchenDifference))(
      "%s: logits of 4 prompts within 10 × %d",
      async (setup, difference) => {
        for (let prompt = 0; prompt < 4; prompt++) {
          const ids = io.get(`ids.${prompt}`)!.values;
          const logits = await allLogits(model, ids, setups.get(setup)!);
          expectClose(logits, io.get(`${setup}.logits.${prompt}`)!.values, 10 * difference);
        }
      },
    );

    test.each(Object.entries(kitchenDifference))(
      "%s: hidden states of every layer within 10 × %d",
      async (setup, difference) => {
        const ids = io.get("ids.0")!.values;
        const { shape, values } = io.get(`${setup}.hidden.0`)!;
        const hidden = await hiddenStates(model, ids, setups.get(setup)!);
        expect(shape).toEqual([8, ids.length, 128]);
        // a GPU's roots, quotients and e^x are off by two ulp and more, where torch's are by one half
        expectClose(hidden, values, (name === "webgpu" ? 20 : 10) * difference);
      },
    );

    test.each(Object.keys(kitchenDifference))(
      "%s: greedy ids of 14 prompts",
      async (setup) => {
        const all: Greedy[] = readJsonFile(goldens, "greedy.json");
        const cases = all.filter((one) => one.setup === setup);
        expect(cases.length).toBe(14);
        // the software renderer behind WebGPU takes a quarter of a second per token
        const few = name === "webgpu" ? cases.slice(0, 1) : cases;
        for (const { prompt_ids, new_ids, min_top2_margin } of few) {
          // no case is a tie within the bound on logits
          expect(min_top2_margin).toBeGreaterThan(20 * kitchenDifference[setup]!);
          expect(await greedy(model, prompt_ids, 24, setups.get(setup)!, 2)).toEqual(new_ids);
        }
      },
      180_000,
    );

    // A block of 32 normal weights spans about 4.1 σ, so q4's step is 0.27 σ and its error has 0.006 of the weights' power;
    // q8's (weights and activations, amax about 2.1 σ) has 5e-5. Six layers add up to 0.036 and 3e-4 of the logits' power;
    // measured: 0.030 and 3.0e-4. Twice the former.
    test.each([
      ["q8", 6e-4],
      ["q4", 0.07],
    ] as const)("soup in %s: logits with nmse below %d", async (quantize, bound) => {
      const quantized = await loadModelFolder(backend, `${kitchen}/base`, { quantize });
      const { weights } = readJsonFile(kitchen, "adapters/cat_weights.json");
      const adapters = await Promise.all(
        ["knowledge", "format"].map((name) =>
          loadAdapterFolder(quantized, `${kitchen}/adapters/${name}`, quantize),
        ),
      );
      const soup = blend(adapters, (path, i) => weights[path][i]);
      let [error, power] = [0, 0];
      for (let prompt = 0; prompt < 4; prompt++) {
        const logits = await allLogits(quantized, io.get(`ids.${prompt}`)!.values, soup);
        io.get(`soup.logits.${prompt}`)!.values.forEach((expected, i) => {
          error += (logits[i]! - expected) ** 2;
          power += expected ** 2;
        });
      }
      expect(error / power).toBeLessThan(bound);
    });
  });

  describe("micro: odd sizes, untied head, ranks 4 and 6, negative weights", () => {
    let model: TestModel;
    let io: Map<string, GoldenTensor>;
    const setups = new Map<string, Banks>([["base", NO_BANKS]]);

    beforeAll(async () => {
      model = await loadModelFolder(backend, `${goldens}/micro`);
      io = await readTensors(`${goldens}/micro`, "io.safetensors");
      const a = await loadAdapterFolder(model, `${goldens}/micro/adapter_a`);
      const b = await loadAdapterFolder(model, `${goldens}/micro/adapter_b`);
      const weights: Record<string, number[]> = readJsonFile(goldens, "micro/cat_weights.json");
      setups.set("a", blend([a]));
      setups.set(
        "cat",
        blend([a, b], (path, i) => weights[path]![i]!),
      );
    });

    test.each(Object.entries(microDifference))(
      "%s: logits and hidden states within 10 × %d",
      async (setup, difference) => {
        const banks = setups.get(setup)!;
        for (let sequence = 0; sequence < 3; sequence++) {
          const ids = io.get(`ids.${sequence}`)!.values;
          const logits = await allLogits(model, ids, banks);
          expectClose(logits, io.get(`${setup}.logits.${sequence}`)!.values, 10 * difference);
        }
        const hidden = await hiddenStates(model, io.get("ids.0")!.values, banks);
        expectClose(hidden, io.get(`${setup}.hidden.0`)!.values, 10 * difference);
        expect(maxAbs(hidden)).toBeGreaterThan(1);
      },
    );
  });
});

/** [layers + 2, n, hiddenSize], as the goldens have them. */
async function hiddenStates(
  model: TestModel,
  ids: ArrayLike<number>,
  banks: Banks,
): Promise<Float32Array> {
  const { decoder, config } = model;
  const stages = new Float32Array((config.layers + 2) * ids.length * config.hiddenSize);
  decoder.onHidden = (stage, position, rows) => {
    stages.set(rows, (stage * ids.length + position) * config.hiddenSize);
  };
  await allLogits(model, ids, banks);
  decoder.onHidden = undefined;
  return stages;
}
