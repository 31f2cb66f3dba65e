// GGUF models from the outside: the same numbers as from other formats, wherever the file lies and whatever is done with it.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LoadModelOptions, loadModel, type Model } from "../../src/index.ts";
import { createMemorySink } from "../../src/sources/sink.ts";
import { failureOf } from "../formats/failure.ts";
import { makeGguf } from "../support/gguf.ts";
import { BLOCK_TYPES } from "../support/gguf-blocks.ts";
import {
  GGUF_CONFIG,
  type GgufModel,
  hubFolder,
  makeAdapters,
  makeGgufModel,
} from "../support/gguf-models.ts";
import { BACKENDS } from "../support/kitchen.ts";
import { tinyGemma3 } from "../support/models.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import { expectClose, expectSameBits } from "../support/values.ts";

const WASM: LoadModelOptions = { backend: "wasm", threads: 1, build: "baseline" };
const IDS = [1, 17, 250, 3, 99, 42, 7];

const opened: Model[] = [];
afterEach(async () => {
  for (const model of opened.splice(0)) await model.dispose();
});

async function load(
  source: Parameters<typeof loadModel>[0],
  options: LoadModelOptions = {},
): Promise<Model> {
  const model = await loadModel(source, { ...WASM, ...options });
  opened.push(model);
  return model;
}

/** As llama.cpp's `Q4_K_M` mixes: most in 4 bits, some matrices in more. */
const mixed = (name: string): string => {
  if (name.startsWith("model.embed") || name.startsWith("lm_head")) return "Q6_K";
  if (name.includes("v_proj")) return "Q6_K";
  if (name.includes("down_proj")) return "Q5_0";
  return name.includes("o_proj") ? "Q8_0" : "Q4_K";
};

describeWithSharedData("stories260K", () => {
  const file = sharedData("stories260K", "stories260K-f32.v1.gguf");

  test.each(BACKENDS)("the same bits as from safetensors, on $backend", async (options) => {
    const gguf = await load(file, options);
    const safetensors = await load(sharedData("stories260K", "hf-f32"), options);
    const ids = safetensors.tokenize("Once upon a time, there was a dog. It said: Grüße 🤖\n");
    expect(gguf.tokenize("Once upon a time, there was a dog. It said: Grüße 🤖\n")).toEqual(ids);
    const [found, expected] = await Promise.all([
      gguf.logits(ids, { all: true }),
      safetensors.logits(ids, { all: true }),
    ]);
    expectSameBits(found, expected);
    // the file has the embedding twice
    expect({ ...gguf.config, tieWordEmbeddings: true }).toEqual(safetensors.config);
  });

  test.each(BACKENDS)("greedy text equals golden-text.json on $backend", async (options) => {
    const golden = JSON.parse(readFileSync(sharedData("stories260K", "golden-text.json"), "utf8"));
    const model = await load(file, options);
    for (const { prompt, prompt_ids, ids, text } of golden.cases) {
      expect(model.tokenize(prompt)).toEqual(prompt_ids);
      const maxTokens = ids.length - prompt_ids.length;
      const result = await model.generate(prompt, { maxTokens }).result();
      expect([...prompt_ids, ...result.tokenIds].slice(0, ids.length)).toEqual(ids);
      expect(prompt + result.text).toBe(text);
    }
  });
});

describe("weights", () => {
  const biased = { attentionBias: true, attentionOutputBias: true, mlpBias: true };
  const GEMMA3 = { vocabSize: 300, hiddenSize: 256, intermediateSize: 512, headDim: 32 };
  test.each([
    ["llama with biases", "llama", { ...GGUF_CONFIG, ...biased }],
    ["qwen2", "qwen2", { ...GGUF_CONFIG, modelType: "qwen2", attentionBias: true }],
    ["qwen3", "qwen3", { ...GGUF_CONFIG, modelType: "qwen3", qkNorm: true, headDim: 32 }],
    ["smollm3", "smollm3", { ...GGUF_CONFIG, modelType: "smollm3", layers: 4, noRopeLayers: [3] }],
    ["gemma3", "gemma3", tinyGemma3({ ...GEMMA3, layers: 6 }, { scalar: 32 })],
    ["tied embeddings", "llama", { ...GGUF_CONFIG, tieWordEmbeddings: true }],
  ])("%s: the bits of the same values in safetensors", async (_, architecture, config) => {
    const made = makeGgufModel(mixed, { config, architecture });
    const gguf = await load({ "model.gguf": made.file }, { quantize: "none" });
    const safetensors = await load(hubFolder(made));
    expect(gguf.config).toEqual(config);
    expectSameBits(
      await gguf.logits(IDS, { all: true }),
      await safetensors.logits(IDS, { all: true }),
    );
  });

  test.each(["F32", "F16", "BF16", ...Object.keys(BLOCK_TYPES)])(
    "%s as f32: the bits of the same values in safetensors",
    async (type) => {
      const made = makeGgufModel(() => type);
      const gguf = await load({ "model.gguf": made.file }, { quantize: "none" });
      const safetensors = await load(hubFolder(made));
      expect(gguf.info.weightType).toBe("f32");
      expectSameBits(
        await gguf.logits(IDS, { all: true }),
        await safetensors.logits(IDS, { all: true }),
      );
    },
  );

  test.each([
    ["F32", "f32"],
    ["F16", "f32"],
    ["Q8_0", "q8"],
    ["Q6_K", "q8"],
    ["Q5_K", "q8"],
    ["Q5_1", "q8"],
    ["IQ4_XS", "q8"],
    ["Q4_K", "q4"],
    ["Q4_0", "q4"],
    ["Q3_K", "q4"],
    ["Q2_K", "q4"],
  ])("%s is held as %s by default", async (type, held) => {
    const { file } = makeGgufModel(() => type);
    const model = await load({ "model.gguf": file });
    expect(model.info.weightType).toBe(held);
    expect((await model.logits(IDS)).every(Number.isFinite)).toBe(true);
  });

  test.each(["q8", "q4"] as const)("%s is obeyed, whatever the file holds", async (quantize) => {
    const { file } = makeGgufModel(mixed);
    const model = await load({ "model.gguf": file }, { quantize });
    expect(model.info.weightType).toBe(quantize);
  });

  test("matrices of several types in one model: every backend computes the same", async () => {
    const { file } = makeGgufModel(mixed);
    const model = await load({ "model.gguf": file });
    expect(model.info.weightType).toBe("mixed");
    const reference = await load({ "model.gguf": file }, { backend: "reference" });
    const found = await model.logits(IDS, { all: true });
    const expected = await reference.logits(IDS, { all: true });
    const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // integer products are equal; sums, exp and activations' rounding borders differ in last bits
    expectClose(found, expected, 0.02 * largest);
    const generated = await model.generate(IDS, { maxTokens: 5, ignoreEos: true }).result();
    expect(generated.tokenIds).toHaveLength(5);
  });

  test("a value that is not finite is refused", async () => {
    const made = makeGgufModel(() => "Q8_0");
    const file = made.file.slice();
    // the first half of the last tensor's first block: a scale
    const at = file.length - Math.ceil((300 * 256 * 34) / 32 / 32) * 32;
    const source = { "model.gguf": file };
    new DataView(file.buffer).setUint16(at, 0x7c00, true);
    const failure = await failureOf(() => load(source));
    expect(failure).toMatch(/^WEIGHTS_NOT_FINITE/);
  });
});

describe("fold", () => {
  let made: GgufModel;
  beforeAll(() => {
    made = makeGgufModel(mixed);
  });

  test("is undone to the bit", async () => {
    const model = await load({ "model.gguf": made.file });
    await model.loadAdapter(makeAdapters(GGUF_CONFIG).peft, { name: "one" });
    const before = await model.logits(IDS);
    const live = await model.logits(IDS, { soup: { one: 1 } });
    await model.fold({ one: 1 });
    const folded = await model.logits(IDS);
    expect(folded).not.toEqual(before);
    const largest = live.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expectClose(folded, live, 0.2 * largest);
    await model.unfold();
    expectSameBits(await model.logits(IDS), before);
  });

  test("writes a whole model in transformers' layout, in f32", async () => {
    const model = await load({ "model.gguf": made.file }, { quantize: "none" });
    await model.loadAdapter(makeAdapters(GGUF_CONFIG).peft, { name: "one" });
    const sink = createMemorySink("folded");
    await model.saveFolded({ one: 0.5 }, sink);
    expect(Object.keys(sink.files).sort()).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer_config.json",
    ]);
    const written = await load(sink.files);
    await model.fold({ one: 0.5 });
    expectSameBits(await written.logits(IDS), await model.logits(IDS));
  });
});

describe("adapters in GGUF", () => {
  const folder = (): Record<string, Uint8Array> => hubFolder(makeGgufModel(() => "F32"));

  test.each([
    ["of one rank", {}],
    [
      "of several ranks",
      { rankOf: (path: string) => (path.endsWith("v_proj") ? 2 : path.includes(".1.") ? 8 : 4) },
    ],
    ["with alpha 0, which is scaling 1", { alpha: 4, rank: 4, ggufAlpha: 0 }],
  ])("%s: the bits of PEFT's files", async (_, options) => {
    const { peft, gguf } = makeAdapters(GGUF_CONFIG, options);
    const model = await load(folder());
    await model.loadAdapter(peft, { name: "peft" });
    await model.loadAdapter({ "lora.gguf": gguf }, { name: "gguf" });
    const [a, b] = model.adapters;
    expect({ ...b, name: "", source: "" }).toEqual({ ...a, name: "", source: "" });
    const logits = await model.logits(IDS, { soup: { gguf: 0.7 }, all: true });
    expectSameBits(logits, await model.logits(IDS, { soup: { peft: 0.7 }, all: true }));
    expect(logits).not.toEqual(await model.logits(IDS, { all: true }));
  });

  test("beside a GGUF base, and named in a soup.json by their hashes", async () => {
    const { gguf } = makeAdapters(GGUF_CONFIG);
    const base = { "model.gguf": makeGgufModel(mixed).file };
    const model = await load(base);
    await model.loadAdapter({ "lora.gguf": gguf }, { name: "one" });
    const recipe = await model.soup({ one: 0.5 }).toRecipe();
    const again = await load(base);
    await again.loadAdapter({ "lora.gguf": gguf }, { name: "one" });
    const soup = await again.loadSoup(recipe);
    expectSameBits(
      await again.logits(IDS, { soup }),
      await model.logits(IDS, { soup: { one: 0.5 } }),
    );
    const other = await load(base);
    await other.loadAdapter(
      { "x.gguf": makeAdapters(GGUF_CONFIG, { alpha: 7 }).gguf },
      { name: "one" },
    );
    expect(await failureOf(() => other.loadSoup(recipe))).toMatch(/^SOUP_INVALID/);
  });

  const refusals: Record<string, () => Uint8Array> = {
    "a model": () => makeGgufModel(() => "F32").file,
    "a control vector": () =>
      makeGguf({ metadata: { "general.type": ["string", "controlvector"] } }),
    "an activated LoRA": () =>
      makeGguf({
        metadata: { "general.type": ["string", "adapter"], "adapter.type": ["string", "alora"] },
      }),
    "no tensors": () =>
      makeGguf({
        metadata: { "general.type": ["string", "adapter"], "adapter.type": ["string", "lora"] },
      }),
    "LoRA on the embedding": () =>
      withTensors("token_embd.weight.lora_a", "token_embd.weight.lora_b"),
    "a factor alone": () => withTensors("blk.0.attn_q.weight.lora_a"),
    "half of the layers": () =>
      withTensors("blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"),
    "another shape": () =>
      withTensors(
        ...[0, 1].flatMap((i) => [
          `blk.${i}.attn_q.weight.lora_a`,
          `blk.${i}.attn_q.weight.lora_b`,
        ]),
      ),
    "something else": () => withTensors("blk.0.attn_q.weight.delta"),
  };
  test.each(Object.entries(refusals))("%s is refused", async (title, file) => {
    const model = await load(folder());
    const adding = () => model.loadAdapter({ "lora.gguf": file() }, { name: "one" });
    expect({ [title]: await failureOf(adding) }).toMatchSnapshot();
  });

  test("an adapter is no model", async () => {
    const failure = await failureOf(() => load({ "a.gguf": makeAdapters(GGUF_CONFIG).gguf }));
    expect(failure).toMatchInlineSnapshot(
      `"MODEL_UNSUPPORTED: this is an adapter, not a model (a.gguf). Load it beside its base model: with loadAdapter, or --adapter NAME=FILE."`,
    );
  });

  function withTensors(...names: string[]): Uint8Array {
    return makeGguf({
      metadata: {
        "general.architecture": ["string", "llama"],
        "general.type": ["string", "adapter"],
        "adapter.type": ["string", "lora"],
      },
      tensors: names.map((name) => ({ name, type: 0, shape: [4, 4], data: new Uint8Array(64) })),
    });
  }
});

describe("a file is named", () => {
  let folder: string;
  let server: Server;
  let made: GgufModel;
  let expected: Float32Array;
  beforeAll(async () => {
    made = makeGgufModel(mixed);
    server = createServer((request, response) => {
      const path = new URL(request.url!, "http://x").pathname;
      if (path !== "/models/tiny.gguf") return response.writeHead(404).end();
      const [, from, to] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? "") ?? [];
      const end = Math.min(Number(to), made.file.length - 1);
      const range = `bytes ${from}-${end}/${made.file.length}`;
      response.writeHead(206, { "content-range": range, etag: '"tiny"' });
      return response.end(made.file.subarray(Number(from), end + 1));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const model = await load({ "model.gguf": made.file });
    expected = await model.logits(IDS);
  });
  afterAll(() => server.close());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tureen-gguf-"));
    writeFileSync(join(folder, "tiny-q4_k_m.gguf"), made.file);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const blob = (): Blob & { name: string } =>
    Object.assign(new Blob([made.file as Uint8Array<ArrayBuffer>]), { name: "tiny.gguf" });
  const url = (): string =>
    `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/tiny.gguf?token=x`;

  const ways: Record<string, () => Parameters<typeof loadModel>[0]> = {
    "by its path": () => join(folder, "tiny-q4_k_m.gguf"),
    "by its file URL": () => pathToFileURL(join(folder, "tiny-q4_k_m.gguf")),
    "by its folder, where there is no other": () => folder,
    "by its address": url,
    "by picking it": () => [blob()],
    "among contents by name": () => ({ "any.gguf": made.file, "README.md": new Uint8Array(3) }),
  };
  test.each(Object.entries(ways))("%s", async (_, source) => {
    const model = await load(source());
    expectSameBits(await model.logits(IDS), expected);
  });

  test("not at all, in a folder with several", async () => {
    writeFileSync(join(folder, "tiny-q8_0.gguf"), made.file);
    const failure = await failureOf(() => load(folder), folder);
    expect(failure).toMatchInlineSnapshot(
      `"OPTION_INVALID: the folder holds several GGUF files: expected the name of one of them, found tiny-q4_k_m.gguf, tiny-q8_0.gguf (…). Name it with its folder: …/tiny-q4_k_m.gguf"`,
    );
  });

  test("and is not there", async () => {
    const failure = await failureOf(() => load(join(folder, "other.gguf")), folder);
    expect(failure).toMatchInlineSnapshot(`"SOURCE_NOT_FOUND: there is no file …/other.gguf"`);
  });

  test("in shards, by the first one", async () => {
    const tensors = made.spec.tensors!;
    const half = Math.floor(tensors.length / 2);
    const split = (no: number, some: typeof tensors) => ({
      metadata: {
        ...(no === 0 ? made.spec.metadata : {}),
        "split.no": ["u32", no] as const,
        "split.count": ["u32", 2] as const,
      },
      tensors: some,
    });
    const first = makeGguf(split(0, tensors.slice(0, half)));
    const second = makeGguf(split(1, tensors.slice(half)));
    const files = { "m-00001-of-00002.gguf": first, "m-00002-of-00002.gguf": second };
    const model = await load(files);
    expectSameBits(await model.logits(IDS), expected);
    const broken: Record<string, Record<string, Uint8Array>> = {
      "one is missing": { "m-00001-of-00002.gguf": first },
      "the first is missing": { "m-00002-of-00002.gguf": second },
      renamed: { "m.gguf": first },
      "the second one named": { "m-00002-of-00002.gguf": second, "m-00001-of-00002.gguf": second },
      "the same twice": { "m-00001-of-00002.gguf": first, "m-00002-of-00002.gguf": first },
    };
    for (const [title, contents] of Object.entries(broken)) {
      expect({ [title]: await failureOf(() => load(contents)) }).toMatchSnapshot();
    }
  });

  test("and its weights are kept packed, each as its type", async () => {
    const path = join(folder, "tiny-q4_k_m.gguf");
    const cacheDir = join(folder, "cache");
    const options = { packedCache: true, hub: { cacheDir } };
    process.env.TUREEN_CACHE = join(folder, "own");
    try {
      const reads: number[] = [];
      for (let round = 0; round < 2; round++) {
        const model = await load(path, {
          ...options,
          onProgress: ({ bytesDone }) => reads.push(bytesDone),
        });
        expect(model.info.weightType).toBe("mixed");
        expectSameBits(await model.logits(IDS), expected);
        await model.loadAdapter(makeAdapters(GGUF_CONFIG).peft, { name: "one" });
        await model.fold({ one: 1 });
        await model.unfold();
        expectSameBits(await model.logits(IDS), expected);
      }
      expect(reads.length).toBeGreaterThan(0);
    } finally {
      delete process.env.TUREEN_CACHE;
    }
  });

  test("progress counts the file's bytes", async () => {
    let last = { bytesDone: 0, bytesTotal: 0 };
    await load(join(folder, "tiny-q4_k_m.gguf"), {
      onProgress: (progress) => {
        if (progress.phase === "load") last = progress;
      },
    });
    expect(last.bytesDone).toBeCloseTo(last.bytesTotal, 3);
    expect(last.bytesTotal).toBeLessThan(made.file.length);
    expect(last.bytesTotal).toBeGreaterThan(made.file.length * 0.95);
  });
});
