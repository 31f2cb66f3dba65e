// stories260K, a real trained model in four kinds of files: golden text by a numpy implementation, golden logits by PEFT.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import type { Checkpoint } from "../../src/formats/checkpoint.ts";
import { fromFloat32, toFloat32 } from "../../src/formats/float.ts";
import type { Banks } from "../../src/model/decoder.ts";
import { backends } from "../support/backends.ts";
import {
  allLogits,
  blend,
  buildModel,
  freeModel,
  greedy,
  loadAdapterFolder,
  loadModelFolder,
  NO_BANKS,
  openModelFolder,
  readJsonFile,
  type TestModel,
} from "../support/models.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import { EPS, expectClose, expectSameBits, maxAbs, maxDifference } from "../support/values.ts";

/**
 * f32 against f64 on logits: torch's own f32 differs by 1.2e-5 on the kitchen's six layers of width 128, whose logits reach
 * half as far; ten times twice that.
 */
const LOGIT_BOUND = 2.5e-4;

interface PeftCase {
  prompt_ids: number[];
  last_logits: number[];
  greedy_ids: number[];
}

describeWithSharedData("stories260K", () => {
  describe.each(backends)("on $name", ({ create, unavailable }) => {
    if (unavailable !== undefined) {
      test.skip(`is not available here: ${unavailable}`, () => undefined);
      return;
    }

    const folder = sharedData("stories260K");
    let backend: Backend;
    let model: TestModel;
    const setups = new Map<string, Banks>([["base", NO_BANKS]]);

    beforeAll(async () => {
      backend = await create();
      model = await loadModelFolder(backend, `${folder}/hf-f32`);
      const shakespeare = await loadAdapterFolder(model, `${folder}/adapters/shakespeare`);
      const gsm8k = await loadAdapterFolder(model, `${folder}/adapters/gsm8k-questions`);
      setups.set("shakespeare", blend([shakespeare]));
      setups.set("gsm8k-questions", blend([gsm8k]));
      const half = blend([shakespeare, gsm8k], () => 0.5);
      setups.set("cat shakespeare=0.5 gsm8k-questions=0.5", half);
    });
    afterAll(async () => {
      await backend.dispose();
    });

    test("greedy ids equal golden-text.json", async () => {
      const { cases } = readJsonFile(folder, "golden-text.json");
      expect(cases.length).toBe(3);
      for (const { prompt_ids, ids } of cases) {
        const count = ids.length - prompt_ids.length;
        expect([...prompt_ids, ...(await greedy(model, prompt_ids, count))]).toEqual(ids);
      }
    });

    test.each([
      "base",
      "shakespeare",
      "gsm8k-questions",
      "cat shakespeare=0.5 gsm8k-questions=0.5",
    ])(`%s: logits within ${LOGIT_BOUND} of PEFT's f64, same greedy ids`, async (setup) => {
      const cases: PeftCase[] = readJsonFile(folder, "golden-peft.json").cases[setup];
      expect(cases.length).toBe(5);
      const banks = setups.get(setup)!;
      for (const { prompt_ids, last_logits, greedy_ids } of cases) {
        const cache = model.decoder.createCache(prompt_ids.length);
        const logits = await model.decoder.forward(prompt_ids, 0, cache, banks, "last");
        model.decoder.freeCache(cache);
        expectClose(logits!, last_logits, LOGIT_BOUND);
        expect(await greedy(model, prompt_ids, greedy_ids.length, banks)).toEqual(greedy_ids);
      }
    });

    test("shards give the bits of the single file", async () => {
      const ids = readJsonFile(folder, "golden-text.json").cases[0].ids.slice(0, 40);
      const sharded = await loadModelFolder(backend, `${folder}/hf-sharded`);
      expectSameBits(await allLogits(sharded, ids), await allLogits(model, ids));
      freeModel(sharded);
    });

    // A weight is off by at most one rounding u of its type. Taking a logit to be about as sensitive as one product, with
    // the 36 products of 5 layers adding up: |Δ| <= 36 u max |logit|.
    test.each([
      ["F16", "hf-f16", 2 ** -11],
      ["BF16", "hf-bf16", 2 ** -8],
    ] as const)("the %s file gives the bits of its rounded weights", async (dtype, name, u) => {
      const ids = readJsonFile(folder, "golden-text.json").cases[1].ids.slice(0, 40);
      const half = await loadModelFolder(backend, `${folder}/${name}`);
      const { config, checkpoint } = await openModelFolder(`${folder}/hf-f32`);
      const rounded = await buildModel(backend, config, rounding(checkpoint, dtype));
      await checkpoint.close();
      const logits = await allLogits(half, ids);
      expectSameBits(logits, await allLogits(rounded, ids));
      const exact = await allLogits(model, ids);
      const difference = maxDifference(logits, exact);
      expect(difference).toBeGreaterThan(EPS);
      expect(difference).toBeLessThan(36 * u * maxAbs(exact));
      freeModel(half);
      freeModel(rounded);
    });
  });
});

/** An f32 checkpoint whose numbers pass through another type. */
function rounding(checkpoint: Checkpoint, dtype: "F16" | "BF16"): Checkpoint {
  return {
    ...checkpoint,
    async read(name, offset, nBytes, options) {
      const exact = toFloat32(await checkpoint.read(name, offset, nBytes, options), "F32");
      return fromFloat32(toFloat32(fromFloat32(exact, dtype), dtype), "F32");
    },
  };
}
