// An adapter that saved its whole output layer, on a real decoder: at weight 1 it gives the logits of a base with that layer;
// at weight 0.5 the average of both (logits are linear in lm_head).
import { expect, test } from "vitest";
import { fromFloat32, toFloat32 } from "../../src/formats/float.ts";
import { openCheckpoint } from "../../src/formats/open-checkpoint.ts";
import { collectBytes, writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { loadModel } from "../../src/index.ts";
import { openFileSet, readJson } from "../../src/sources/open.ts";
import { goldenPath } from "../support/kitchen.ts";
import { expectClose, maxAbs, randomValues } from "../support/values.ts";

const IDS = [1, 5, 200, 7, 42];

test.each(["reference", "wasm"] as const)("lm_head saved whole, on %s", async (backend) => {
  const files = await openFileSet(goldenPath("micro"));
  const checkpoint = await openCheckpoint(files);
  const head = toFloat32(await checkpoint.read("lm_head.weight"), "F32").slice();
  const change = randomValues(head.length, 7);
  const saved = head.map((value, i) => value + 0.1 * change[i]!);

  const tensors = await Promise.all(
    [...checkpoint.tensors.values()].map(async ({ name, dtype, shape }) => {
      const data =
        name === "lm_head.weight" ? fromFloat32(saved, "F32") : await checkpoint.read(name);
      return { name, dtype, shape, data: () => data };
    }),
  );
  const config = new TextEncoder().encode(JSON.stringify(await readJson(files, "config.json")));
  const model = {
    "config.json": config,
    "model.safetensors": await collectBytes(writeSafetensors(tensors, {})),
  };
  const adapter = {
    "adapter_config.json": new TextEncoder().encode(
      JSON.stringify({ peft_type: "LORA", r: 1, target_modules: [], modules_to_save: ["lm_head"] }),
    ),
    "adapter_model.safetensors": await collectBytes(
      writeSafetensors(
        [
          {
            name: "base_model.model.lm_head.weight",
            dtype: "F32",
            shape: [300, 48],
            data: () => fromFloat32(saved, "F32"),
          },
        ],
        {},
      ),
    ),
  };

  const changed = await loadModel(model, { backend, threads: 1 });
  const base = await loadModel(goldenPath("micro"), { backend, threads: 1 });
  await base.loadAdapter(adapter, { name: "head" });
  const expected = await changed.logits(IDS, { all: true });
  const plain = await base.logits(IDS, { all: true });
  const full = await base.logits(IDS, { all: true, soup: { head: 1 } });
  const half = await base.logits(IDS, { all: true, soup: { head: 0.5 } });

  expect(maxAbs(expected.map((value, i) => value - plain[i]!))).toBeGreaterThan(0.5);
  // W' - W is rounded once per weight (2^-24 of up to 1), and 48 of them are summed twice in f32.
  const bound = 48 * 2 ** -22 * maxAbs(expected);
  expectClose(full, expected, bound);
  expectClose(
    half,
    plain.map((value, i) => (value + expected[i]!) / 2),
    bound,
  );
  await checkpoint.close();
  await changed.dispose();
  await base.dispose();
});
