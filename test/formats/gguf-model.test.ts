// What a GGUF file's metadata says of a model, as config.json would say it.
import { describe, expect, test } from "vitest";
import { openModelFiles } from "../../src/formats/model-files.ts";
import { type ModelConfig, parseModelConfig } from "../../src/model/config.ts";
import { openFileSet, readJson } from "../../src/sources/open.ts";
import { bytesOf, type GgufTensorSpec, type GgufValue, makeGguf } from "../support/gguf.ts";
import { GGUF_CONFIG, makeGgufModel, modelMetadata } from "../support/gguf-models.ts";
import { tinyConfig, tinyGemma3 } from "../support/models.ts";
import { failureOf } from "./failure.ts";

type Metadata = Record<string, GgufValue>;

async function configOf(file: Uint8Array): Promise<ModelConfig> {
  const { files, close } = await openModelFiles(await openFileSet({ "model.gguf": file }));
  try {
    const config = await readJson(files, "config.json");
    return parseModelConfig(config, await readJson(files, "generation_config.json"), "model.gguf");
  } finally {
    await close();
  }
}

const small = (
  metadata: Metadata = {},
  tensors: readonly GgufTensorSpec[] = [],
  config: ModelConfig = GGUF_CONFIG,
  architecture = "llama",
): Uint8Array => {
  const embedding = { name: "token_embd.weight", type: 0, shape: [config.vocabSize, 8] };
  const data = new Uint8Array(config.vocabSize * 8 * 4);
  return makeGguf({
    metadata: { ...modelMetadata(config, architecture), ...metadata },
    tensors: [{ ...embedding, data }, ...tensors],
  });
};

describe("the config", () => {
  test("is that of the model", async () => {
    expect(await configOf(makeGgufModel(() => "F32").file)).toEqual(GGUF_CONFIG);
  });

  test("of qwen2: biases, other names, no other order of rows", async () => {
    const config = tinyConfig({ modelType: "qwen2", attentionBias: true, tieWordEmbeddings: true });
    const { file } = makeGgufModel(() => "F32", { config, architecture: "qwen2" });
    expect(await configOf(file)).toEqual(config);
  });

  test("of qwen3: norms of heads, whose size is its own; no other order of rows", async () => {
    const config = tinyConfig({ modelType: "qwen3", qkNorm: true, headDim: 16 });
    const { file } = makeGgufModel(() => "F32", { config, architecture: "qwen3" });
    expect(await configOf(file)).toEqual(config);
  });

  test("of smollm3: every fourth layer without RoPE", async () => {
    const changes = { modelType: "smollm3", layers: 9, noRopeLayers: [3, 7] };
    const config = tinyConfig({ ...changes, tieWordEmbeddings: true });
    const { file } = makeGgufModel(() => "F32", { config, architecture: "smollm3" });
    expect(await configOf(file)).toEqual(config);
  });

  test("of gemma3: windows, norms less the 1 that the file adds, and what only llama.cpp knows", async () => {
    const config = tinyGemma3({ layers: 7, vocabSize: 300 }, { window: 9, scalar: 16 });
    const sliding = { ...config.sliding!, layers: [0, 1, 2, 3, 4, 6] };
    const expected = { ...config, sliding };
    const { file } = makeGgufModel(() => "F32", { config: expected, architecture: "gemma3" });
    expect(await configOf(file)).toEqual(expected);
    const many = { config: { ...expected, layers: 62 }, architecture: "gemma3" };
    const { queryScale } = await configOf(makeGgufModel(() => "F32", many).file); // 27B, by its layers
    expect(queryScale).toBe(Math.sqrt(config.headDim / (config.hiddenSize / config.heads)));
  });

  test("of llama with biases everywhere", async () => {
    const changes = { attentionBias: true, attentionOutputBias: true, mlpBias: true };
    const config = tinyConfig(changes);
    const { file } = makeGgufModel(() => "F32", { config });
    expect(await configOf(file)).toEqual(config);
  });

  test("has decimals as they were written, not as f32 stores them", async () => {
    const config = { ...GGUF_CONFIG, rmsNormEps: 1e-6, ropeTheta: 500000 };
    const found = await configOf(small({}, [], config));
    expect([found.rmsNormEps, found.ropeTheta]).toEqual([1e-6, 500000]);
  });

  test("takes head counts that are listed for every layer", async () => {
    const heads: GgufValue = ["array", "i32", [2, 2]];
    expect((await configOf(small({ "llama.attention.head_count_kv": heads }))).kvHeads).toBe(2);
  });

  test("without the heads' size: hidden size over heads", async () => {
    const { "llama.attention.key_length": _, ...rest } = modelMetadata(GGUF_CONFIG);
    const embedding = {
      name: "token_embd.weight",
      type: 0,
      shape: [1, 1],
      data: new Uint8Array(4),
    };
    const { "llama.attention.value_length": __, ...metadata } = rest;
    const found = await configOf(makeGguf({ metadata, tensors: [embedding] }));
    expect(found.headDim).toBe(64);
  });

  test("ends at what the file names, and at control tokens known to end", async () => {
    const tokens = ["<unk>", "<s>", "</s>", "<|im_end|>", "<|im_end|>x", "<|eot_id|>"];
    const found = await configOf(
      small({
        "tokenizer.ggml.tokens": ["array", "string", tokens],
        "tokenizer.ggml.token_type": ["array", "i32", [2, 3, 3, 3, 3, 1]],
        "tokenizer.ggml.eot_token_id": ["u32", 4],
      }),
    );
    expect(found.eosTokenIds).toEqual([2, 4, 3]);
  });
});

describe("rotary scaling", () => {
  const HEAD = 64;
  const config = { ...GGUF_CONFIG, headDim: HEAD, ropeTheta: 500000 };

  /** Factors as llama.cpp's converter computes them (convert_hf_to_gguf.py, `generate_extra_tensors`), in f32. */
  function factors(factor: number, original = 8192, low = 1, high = 4): GgufTensorSpec {
    const values = Float32Array.from({ length: HEAD / 2 }, (_, j) => {
      const frequency = 1 / config.ropeTheta ** ((2 * j) / HEAD);
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength < original / high) return 1;
      if (wavelength > original / low) return factor;
      const smooth = (original / wavelength - low) / (high - low);
      return 1 / ((1 - smooth) / factor + smooth);
    });
    return { name: "rope_freqs.weight", type: 0, shape: [HEAD / 2], data: bytesOf(values) };
  }

  test.each([8, 32])("Llama 3's, factor %i, from its factors", async (factor) => {
    const { ropeScaling } = await configOf(small({}, [factors(factor)], config));
    expect(ropeScaling).toEqual({
      type: "llama3",
      factor,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalLength: 8192,
    });
  });

  test("linear, by either key", async () => {
    const linear = { type: "linear", factor: 4 };
    const newer: Metadata = {
      "llama.rope.scaling.type": ["string", "linear"],
      "llama.rope.scaling.factor": ["f32", 4],
    };
    expect((await configOf(small(newer))).ropeScaling).toEqual(linear);
    const older: Metadata = { "llama.rope.scale_linear": ["f32", 4] };
    expect((await configOf(small(older))).ropeScaling).toEqual(linear);
    const none: Metadata = { "llama.rope.scaling.type": ["string", "none"] };
    expect((await configOf(small(none))).ropeScaling).toBeUndefined();
  });

  const refusals: Record<string, [Metadata, GgufTensorSpec[]]> = {
    yarn: [{ "llama.rope.scaling.type": ["string", "yarn"] }, []],
    "other factors": [{}, [factors(8, 4096)]],
    "factors of other parameters": [{}, [factors(8, 8192, 1, 8)]],
    "factors that are no matrix's": [
      {},
      [{ name: "rope_freqs.weight", type: 0, shape: [2, 2], data: new Uint8Array(16) }],
    ],
  };
  test.each(Object.entries(refusals))("%s is refused", async (title, [metadata, tensors]) => {
    const file = small(metadata, tensors, config);
    expect({ [title]: await failureOf(() => configOf(file)) }).toMatchSnapshot();
  });
});

describe("refuses", () => {
  const own = (key: string, ...value: GgufValue): Metadata => ({ [`llama.${key}`]: value });
  const cases: Record<string, Uint8Array> = {
    "another architecture": small({}, [], GGUF_CONFIG, "gemma2"),
    "Gemma 3 without a window": small({}, [], GGUF_CONFIG, "gemma3"),
    "qwen3's mixture of experts": small(
      { "qwen3moe.expert_count": ["u32", 128] },
      [],
      GGUF_CONFIG,
      "qwen3moe",
    ),
    "no architecture": makeGguf({}),
    "a mixture of experts": small(own("expert_count", "u32", 8)),
    "a window of attention": small(own("attention.sliding_window", "u32", 16)),
    "a scaled residual stream": small(own("residual_scale", "f32", 0.5)),
    "attention in both directions": small(own("attention.causal", "bool", false)),
    "values of another size": small(own("attention.value_length", "u32", 32)),
    "heads that turn in part": small(own("rope.dimension_count", "u32", 32)),
    "layers of different shapes": small(own("attention.head_count_kv", "array", "i32", [2, 4])),
    "no layers": small(own("block_count", "u32", 0)),
    "a nonsensical number of layers": small(own("block_count", "u32", 1_000_000)),
    "a number that is a text": small(own("block_count", "string", "2")),
  };
  test.each(Object.entries(cases))("%s", async (title, file) => {
    expect({ [title]: await failureOf(() => configOf(file)) }).toMatchSnapshot();
  });
});
