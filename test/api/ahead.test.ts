// Greedy steps that overlap, where the backend chooses tokens itself: the same text as step by step.
import { describe, expect, test, vi } from "vitest";
import { loadModel } from "../../src/api/load-model.ts";
import type { Model } from "../../src/api/model.ts";
import { createRandomAdapter, createRandomModel } from "../../src/cli/random-model.ts";
import { Decoder } from "../../src/model/decoder.ts";
import { SWIFTSHADER, webgpuMissing } from "../support/webgpu.ts";

const BACKENDS = [
  { backend: "reference", missing: undefined },
  { backend: "webgpu", missing: webgpuMissing },
] as const;
const PROMPT = [5, 17, 3, 99];

describe.each(BACKENDS)("greedy steps that overlap on $backend", ({ backend, missing }) => {
  async function load(): Promise<Model> {
    process.env.VK_DRIVER_FILES ??= SWIFTSHADER;
    const model = await loadModel(await createRandomModel("tiny", 1), {
      backend,
      quantize: "q8",
      contextLength: 64,
    });
    await model.loadAdapter(await createRandomAdapter(model.config, 4, 2), { name: "a" });
    return model;
  }

  test.skipIf(missing !== undefined)(
    "give the text that single steps give",
    async () => {
      const model = await load();
      const runs = vi.spyOn(Decoder.prototype, "run");
      const options = { temperature: 0, ignoreEos: true, maxTokens: 30, soup: { a: 0.8 } };
      const session = model.createSession();
      const chunks: number[] = [];
      for await (const { tokenIds } of model.generate(PROMPT, { ...options, session }).chunks()) {
        chunks.push(...tokenIds);
      }
      // a step of the reference takes no time, so that several fit a moment
      const overlaps = runs.mock.calls.some(([[part]]) => (part?.ahead ?? 0) > 0);
      if (backend === "reference") expect(overlaps).toBe(true);
      runs.mockRestore();

      // log probabilities need all logits, so every step waits for its own
      const slow = await model.generate(PROMPT, { ...options, logprobs: 0 }).result();
      expect(chunks).toEqual(slow.tokenIds);
      expect([...session.tokens]).toEqual([...PROMPT, ...chunks.slice(0, -1)]);

      // a stop within the steps leaves the context where the text ends
      const stop = slow.tokenIds[11]!;
      const first = slow.tokenIds.indexOf(stop);
      const stopped = await model
        .generate(PROMPT, { ...options, stopTokens: [stop], session })
        .result();
      expect(stopped.tokenIds).toEqual(slow.tokenIds.slice(0, first + 1));
      expect(session.tokens.length).toBe(PROMPT.length + first);

      // the context's end
      const all = await model.generate(PROMPT, { ...options, maxTokens: 500 }).result();
      expect(all.finishReason).toBe("context");
      expect(all.tokenIds.length).toBe(64 - PROMPT.length + 1);

      // others at the same time
      const texts = await Promise.all(
        [0, 1, 2].map((i) => model.generate([...PROMPT, i], options).result()),
      );
      for (const [i, { tokenIds }] of texts.entries()) {
        const alone = await model.generate([...PROMPT, i], { ...options, logprobs: 0 }).result();
        expect(tokenIds.length).toBe(30);
        // rows of a batch have their own bits where the backend promises them
        if (backend === "reference") expect(tokenIds).toEqual(alone.tokenIds);
      }
      await model.dispose();
    },
    120_000,
  );
});
