// Qwen3, SmolLM3 and Gemma 3 from the outside: what is done with adapters and soups on them. The numbers are model/architectures.test.ts's.
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { createMemorySink, type LoadModelOptions, loadModel, type Model } from "../../src/index.ts";
import { tinyData } from "../learn/tiny-model.ts";
import { hubFolder, makeAdapters, makeGgufModel } from "../support/gguf-models.ts";
import { BACKENDS, kitchenPath } from "../support/kitchen.ts";
import { tinyConfig, tinyGemma3 } from "../support/models.ts";
import { EPS, expectClose, expectSameBits, maxAbs } from "../support/values.ts";

const shared = { vocabSize: 768, rmsNormEps: 1e-6, tieWordEmbeddings: true, headDim: 16 }; // q is 64 wide, the stream 40
const CONFIGS = {
  qwen3: tinyConfig({ ...shared, modelType: "qwen3", qkNorm: true, ropeTheta: 1e6 }),
  smollm3: tinyConfig({ ...shared, modelType: "smollm3", layers: 4, noRopeLayers: [3] }),
  // six layers, as GGUF has no word for another pattern; a window shorter than the texts below
  gemma3: tinyGemma3({ ...shared, layers: 6 }, { scalar: shared.headDim }),
};
const IDS = [1, 17, 250, 3, 99, 42, 7];
const SOUP = { one: 0.7, two: -0.4 };

const opened: Model[] = [];
afterEach(async () => {
  for (const model of opened.splice(0)) await model.dispose();
});

/** W + Δ is rounded once: as if each of a logit's some 500 weights on its way were off by EPS. */
const foldBound = (logits: Float32Array): number => 500 * EPS * maxAbs(logits);

describe.each(Object.keys(CONFIGS) as (keyof typeof CONFIGS)[])("%s", (architecture) => {
  const config = CONFIGS[architecture];
  const gguf = makeGgufModel(() => "F32", { config, architecture });
  const adapter = makeAdapters(config, { architecture });
  const other = makeAdapters(config, { architecture, rank: 7, alpha: 5 });

  async function load(options: LoadModelOptions, files = folder()): Promise<Model> {
    const model = await loadModel(files, options);
    opened.push(model);
    await model.loadAdapter(adapter.peft, { name: "one" });
    await model.loadAdapter(other.peft, { name: "two" });
    return model;
  }

  /** With the kitchen's tokenizer. */
  function folder(): Record<string, Uint8Array> {
    const tokenizer = readFileSync(kitchenPath("base/tokenizer.json"));
    return { ...hubFolder(gguf), "tokenizer.json": tokenizer };
  }

  describe.each(BACKENDS)("on $backend", (options) => {
    test("a GGUF file with its LoRA file gives the bits of the folder with PEFT's", async () => {
      const model = await load(options);
      const same = await loadModel({ "model.gguf": gguf.file }, options);
      opened.push(same);
      await same.loadAdapter({ "lora.gguf": adapter.gguf }, { name: "one" });
      expect(same.config).toEqual(model.config);
      const [a, b] = await Promise.all(
        [model, same].map((each) => each.logits(IDS, { soup: { one: 0.7 }, all: true })),
      );
      expectSameBits(b!, a!);
    });

    test("a soup is folded, unfolded to the bit, and written as a model and as an adapter", async () => {
      const model = await load(options);
      const base = await model.logits(IDS, { all: true });
      const live = await model.logits(IDS, { soup: SOUP, all: true });
      expect(maxAbs(live.map((value, i) => value - base[i]!))).toBeGreaterThan(0.1);
      await model.fold(SOUP);
      const folded = await model.logits(IDS, { all: true });
      expectClose(folded, live, foldBound(live));
      await model.unfold();
      expectSameBits(await model.logits(IDS, { all: true }), base);

      const [full, peft] = [createMemorySink("full"), createMemorySink("peft")];
      await model.saveFolded(SOUP, full);
      const written = await load(options, full.files);
      expectSameBits(await written.logits(IDS, { all: true }), folded);
      await model.soup(SOUP).save(peft, { format: "peft" });
      await model.loadAdapter(peft.files, { name: "blend" });
      const blended = await model.logits(IDS, { soup: { blend: 1 }, all: true });
      expectClose(blended, live, foldBound(live)); // m is multiplied into B, which is rounded once
    });

    test("a GGUF base is written as a folder of the same bits", async () => {
      const model = await loadModel({ "model.gguf": gguf.file }, options);
      opened.push(model);
      await model.loadAdapter({ "lora.gguf": adapter.gguf }, { name: "one" });
      await model.fold({ one: 0.7 });
      const full = createMemorySink("full");
      await model.saveFolded({ one: 0.7 }, full);
      const written = await loadModel(full.files, options);
      opened.push(written);
      expect(written.config).toEqual(model.config);
      const logits = await written.logits(IDS, { all: true });
      expectSameBits(logits, await model.logits(IDS, { all: true }));
    });

    test("texts at the same time are what each is alone", async () => {
      const model = await load(options);
      const blends = [{}, { one: 1 }, SOUP];
      const run = (soup: Record<string, number>): Promise<number[]> =>
        model
          .generate(IDS, { soup, maxTokens: 12, ignoreEos: true })
          .result()
          .then(({ tokenIds }) => [...tokenIds]);
      const alone: number[][] = [];
      for (const soup of blends) alone.push(await run(soup));
      expect(await Promise.all(blends.map(run))).toEqual(alone);
    });

    test("a soup is learned", async () => {
      const model = await load(options);
      const learning = { data: tinyData(12), validation: 0, batchSize: 12, learningRate: 0.1 };
      const { losses, soup } = await model.learnSoup({
        ...learning,
        adapters: ["one", "two"],
        epochs: 4,
      });
      expect(losses.at(-1)!).toBeLessThan(losses[0]!);
      expect(await model.logits(IDS, { soup })).not.toEqual(await model.logits(IDS));
    });
  });
});
