// Merged adapters on a real model: logits and greedy text against PEFT 0.21 with transformers in f64.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, SoupEntry } from "../../src/backend/backend.ts";
import { listLinears } from "../../src/model/config.ts";
import type { Banks } from "../../src/model/decoder.ts";
import type { AdapterFactors, MergeOptions } from "../../src/soup/methods/method.ts";
import { backends } from "../support/backends.ts";
import {
  type GoldenTensor,
  greedy,
  loadModelFolder,
  NO_BANKS,
  readJsonFile,
  readTensors,
  type TestModel,
} from "../support/models.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import { expectClose, maxDifference } from "../support/values.ts";
import { lowRank } from "./support.ts";

/** As in test/model/stories.test.ts: f32 against f64 on this model's logits. */
const LOGIT_BOUND = 2.5e-4;

interface PeftCase {
  readonly prompt_ids: number[];
  readonly last_logits: number[];
  readonly greedy_ids: number[];
}

const NAMES = ["shakespeare", "gsm8k-questions"] as const;

const MERGES: readonly [string, string, readonly number[], MergeOptions][] = [
  ["cat shakespeare=0.5 gsm8k-questions=0.5", "cat", [0.5, 0.5], {}],
  ["linear shakespeare=0.7 gsm8k-questions=0.3", "linear", [0.7, 0.3], {}],
  [
    "ties shakespeare=1 gsm8k-questions=1 density=0.5 majority_sign_method=total",
    "ties",
    [1, 1],
    { density: 0.5, majoritySign: "total" },
  ],
];

// The arithmetic of merging is the same everywhere; two backends run its results.
const subjects = [backends[0]!, backends.findLast(({ unavailable }) => unavailable === undefined)!];

describeWithSharedData("merged adapters on stories260K", () => {
  describe.each(subjects)("on $name", ({ create }) => {
    const folder = sharedData("stories260K");
    let backend: Backend;
    let model: TestModel;
    let adapters: Map<string, GoldenTensor>[];

    beforeAll(async () => {
      backend = await create();
      model = await loadModelFolder(backend, `${folder}/hf-f32`);
      adapters = await Promise.all(
        NAMES.map((name) => readTensors(`${folder}/adapters/${name}`, "adapter_model.safetensors")),
      );
    });
    afterAll(async () => {
      await backend.dispose();
    });

    function merge(method: string, weights: readonly number[], options: MergeOptions): Banks {
      const banks = new Map<string, SoupEntry[]>();
      for (const { path, rows, cols } of listLinears(model.config)) {
        const factors = adapters.flatMap((tensors, i): AdapterFactors[] => {
          const a = tensors.get(`base_model.model.${path}.lora_A.weight`);
          const b = tensors.get(`base_model.model.${path}.lora_B.weight`);
          if (a === undefined || b === undefined) return [];
          const config = readJsonFile(folder, "adapters", NAMES[i]!, "adapter_config.json");
          const scaling = config.lora_alpha / config.r;
          const [rank, weight, name] = [config.r, weights[i]!, NAMES[i]!];
          return [{ name, rank, scaling, weight, a: a.values, b: b.values }];
        });
        if (factors.length === 0) continue;
        const { a, b, rank } = lowRank(method, { path, rows, cols, factors }, options);
        const segment = backend.loadSegment({ name: path, rank, rows, cols, a, b }, "f32");
        banks.set(path, [{ segment, m: 1 }]);
      }
      return banks;
    }

    test.each(MERGES)(
      `%s: logits within ${LOGIT_BOUND} of PEFT's f64, same greedy ids`,
      async (setup, method, weights, options) => {
        const banks = merge(method, weights, options);
        expect(banks.size).toBe(35);
        const cases: PeftCase[] = readJsonFile(folder, "golden-peft.json").cases[setup];
        expect(cases.length).toBe(5);
        for (const { prompt_ids, last_logits, greedy_ids } of cases) {
          const logits = await lastLogits(model, prompt_ids, banks);
          expectClose(logits, last_logits, LOGIT_BOUND);
          const base = await lastLogits(model, prompt_ids, NO_BANKS);
          expect(maxDifference(logits, base)).toBeGreaterThan(100 * LOGIT_BOUND);
          expect(await greedy(model, prompt_ids, greedy_ids.length, banks)).toEqual(greedy_ids);
        }
        for (const [{ segment }] of [...banks.values()] as [SoupEntry][]) {
          backend.free(segment);
        }
      },
    );
  });
});

async function lastLogits(
  { decoder }: TestModel,
  ids: readonly number[],
  banks: Banks,
): Promise<Float32Array> {
  const cache = decoder.createCache(ids.length);
  const logits = await decoder.forward(ids, 0, cache, banks, "last");
  decoder.freeCache(cache);
  return logits!;
}
