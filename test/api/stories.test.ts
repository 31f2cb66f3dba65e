// A real model and two adapters that PEFT trained, against texts from independent implementations.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { loadModel } from "../../src/index.ts";
import { BACKENDS } from "../support/kitchen.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";

const stories = (...path: string[]) => sharedData("stories260K", ...path);

describeWithSharedData("stories260K", () => {
  test.each(BACKENDS)("greedy text equals golden-text.json on $backend", async (options) => {
    const golden = JSON.parse(readFileSync(stories("golden-text.json"), "utf8"));
    const model = await loadModel(stories("hf-f32"), options);
    for (const { prompt, prompt_ids, ids, text } of golden.cases) {
      const result = await model
        .generate(prompt_ids, { maxTokens: ids.length - prompt_ids.length })
        .result();
      const all = [...prompt_ids, ...result.tokenIds];
      // The generator that made the goldens stops before the token that ends a story.
      expect(all.slice(0, ids.length)).toEqual(ids);
      expect(prompt + result.text).toBe(text);
    }
    await model.dispose();
  });

  test.each(["hf-f32", "hf-f16", "hf-bf16", "hf-sharded"])(
    "%s loads and begins alike",
    async (variant) => {
      const model = await loadModel(stories(variant), { backend: "wasm", threads: 1 });
      const { text } = await model.generate("Once upon a time", { maxTokens: 24 }).result();
      expect(text).toMatch(/^, there was a little girl named Lily\./);
      await model.dispose();
    },
  );

  test.each(BACKENDS)("PEFT's cat of two adapters is the soup, on $backend", async (options) => {
    const { cases } = JSON.parse(readFileSync(stories("golden-peft.json"), "utf8"));
    const model = await loadModel(stories("hf-f32"), options);
    const names = ["shakespeare", "gsm8k-questions"];
    for (const name of names) await model.loadAdapter(stories("adapters", name), { name });
    const soups = {
      base: {},
      shakespeare: { shakespeare: 1 },
      "gsm8k-questions": { "gsm8k-questions": 1 },
      "cat shakespeare=0.5 gsm8k-questions=0.5": { shakespeare: 0.5, "gsm8k-questions": 0.5 },
    };
    let compared = 0;
    for (const [name, soup] of Object.entries(soups)) {
      for (const golden of cases[name]) {
        if (golden.min_top2_gap < 1e-3) continue; // a tie, as far as f32 can tell
        const { tokenIds } = await model
          .generate(golden.prompt_ids, { soup, maxTokens: 48 })
          .result();
        const ids = golden.greedy_ids.slice(-tokenIds.length);
        expect(tokenIds).toEqual(ids);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(15);
    await model.dispose();
  });
});
