import { describe, expect, it } from "vitest";
import { TureenError } from "../../src/errors.ts";
import { listLinears, type ModelConfig, parseModelConfig } from "../../src/model/config.ts";

// Shapes as published.
const smolLm2 = {
  architectures: ["LlamaForCausalLM"],
  attention_bias: false,
  bos_token_id: 0,
  eos_token_id: 0,
  hidden_act: "silu",
  hidden_size: 576,
  intermediate_size: 1536,
  max_position_embeddings: 8192,
  mlp_bias: false,
  model_type: "llama",
  num_attention_heads: 9,
  num_hidden_layers: 30,
  num_key_value_heads: 3,
  rms_norm_eps: 1e-5,
  rope_scaling: null,
  rope_theta: 100000,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  vocab_size: 49152,
};
const llama3Rope = {
  factor: 32,
  high_freq_factor: 4,
  low_freq_factor: 1,
  original_max_position_embeddings: 8192,
  rope_type: "llama3",
};
const qwen2 = {
  architectures: ["Qwen2ForCausalLM"],
  hidden_act: "silu",
  hidden_size: 1536,
  intermediate_size: 8960,
  max_position_embeddings: 32768,
  model_type: "qwen2",
  num_attention_heads: 12,
  num_hidden_layers: 28,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  sliding_window: 32768,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

const gemma3 = {
  _sliding_window_pattern: 6,
  architectures: ["Gemma3ForCausalLM"],
  attention_bias: false,
  attn_logit_softcapping: null,
  bos_token_id: 2,
  eos_token_id: 1,
  final_logit_softcapping: null,
  head_dim: 256,
  hidden_activation: "gelu_pytorch_tanh",
  hidden_size: 640,
  intermediate_size: 2048,
  layer_types: Array.from({ length: 18 }, (_, i) =>
    i % 6 === 5 ? "full_attention" : "sliding_attention",
  ),
  max_position_embeddings: 32768,
  model_type: "gemma3_text",
  num_attention_heads: 4,
  num_hidden_layers: 18,
  num_key_value_heads: 1,
  query_pre_attn_scalar: 256,
  rms_norm_eps: 1e-6,
  rope_local_base_freq: 10000,
  rope_scaling: null,
  rope_theta: 1000000,
  sliding_window: 512,
  use_bidirectional_attention: false,
  vocab_size: 262144,
};

const qwen3 = {
  architectures: ["Qwen3ForCausalLM"],
  attention_bias: false,
  attention_dropout: 0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  head_dim: 128,
  hidden_act: "silu",
  hidden_size: 1024,
  intermediate_size: 3072,
  max_position_embeddings: 40960,
  max_window_layers: 28,
  model_type: "qwen3",
  num_attention_heads: 16,
  num_hidden_layers: 28,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-6,
  rope_scaling: null,
  rope_theta: 1000000,
  sliding_window: null,
  tie_word_embeddings: true,
  use_sliding_window: false,
  vocab_size: 151936,
};

const smolLm3 = {
  architectures: ["SmolLM3ForCausalLM"],
  attention_bias: false,
  hidden_act: "silu",
  hidden_size: 2048,
  intermediate_size: 11008,
  layer_types: Array.from({ length: 36 }, () => "full_attention"),
  max_position_embeddings: 65536,
  mlp_bias: false,
  model_type: "smollm3",
  no_rope_layer_interval: 4,
  no_rope_layers: Array.from({ length: 36 }, (_, i) => (i % 4 === 3 ? 0 : 1)),
  num_attention_heads: 16,
  num_hidden_layers: 36,
  num_key_value_heads: 4,
  rms_norm_eps: 1e-6,
  rope_theta: 5000000,
  sliding_window: null,
  use_sliding_window: false,
  vocab_size: 128256,
};

const parse = (json: unknown, generation?: unknown): ModelConfig =>
  parseModelConfig(json, generation, "config.json");

describe("parseModelConfig", () => {
  it("reads a transformers 4 llama config", () => {
    expect(parse(smolLm2)).toEqual({
      modelType: "llama",
      vocabSize: 49152,
      hiddenSize: 576,
      intermediateSize: 1536,
      layers: 30,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
      maxPositions: 8192,
      rmsNormEps: 1e-5,
      ropeTheta: 100000,
      ropeScaling: undefined,
      tieWordEmbeddings: true,
      attentionBias: false,
      attentionOutputBias: false,
      mlpBias: false,
      qkNorm: false,
      noRopeLayers: [],
      activation: "silu",
      embeddingScale: 1,
      normOffset: 0,
      queryScale: 1,
      outputNorms: false,
      sliding: undefined,
      bosTokenIds: [0],
      eosTokenIds: [0],
    });
  });

  it("reads the same model written by transformers 5 to the same result", () => {
    const { rope_theta, rope_scaling: _, torch_dtype: dtype, ...rest } = smolLm2;
    const rope_parameters = { rope_theta, rope_type: "default" };
    expect(parse({ ...rest, dtype, rope_parameters })).toEqual(parse(smolLm2));
  });

  it("reads Llama 3 rope scaling in both spellings", () => {
    const expected = {
      type: "llama3",
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalLength: 8192,
    };
    const old = parse({ ...smolLm2, rope_theta: 500000, rope_scaling: llama3Rope });
    expect(old.ropeScaling).toEqual(expected);
    const { rope_theta: _, ...rest } = smolLm2;
    const now = parse({ ...rest, rope_parameters: { ...llama3Rope, rope_theta: 500000 } });
    expect(now.ropeScaling).toEqual(expected);
    expect([old.ropeTheta, now.ropeTheta]).toEqual([500000, 500000]);
  });

  it("falls back to the model's length for Llama 3's original length, as transformers does", () => {
    const { original_max_position_embeddings: _, ...rope_scaling } = llama3Rope;
    expect(parse({ ...smolLm2, rope_scaling }).ropeScaling).toMatchObject({ originalLength: 8192 });
  });

  it.each(["type", "rope_type"])("reads linear scaling named by %s", (key) => {
    const config = parse({ ...smolLm2, rope_scaling: { [key]: "linear", factor: 2.5 } });
    expect(config.ropeScaling).toEqual({ type: "linear", factor: 2.5 });
  });

  it("uses LlamaConfig's defaults for absent fields", () => {
    const config = parse({
      model_type: "llama",
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_attention_heads: 32,
      max_position_embeddings: 4096,
    });
    expect(config).toMatchObject({
      kvHeads: 32,
      headDim: 128,
      rmsNormEps: 1e-6,
      ropeTheta: 10000,
      tieWordEmbeddings: false,
      bosTokenIds: [],
      eosTokenIds: [],
    });
  });

  it("takes a head_dim that is not hidden_size / heads", () => {
    const config = parse({
      ...smolLm2,
      model_type: "mistral",
      sliding_window: null,
      head_dim: 128,
    });
    expect(config.headDim).toBe(128);
    expect(listLinears(config)[0]).toMatchObject({ rows: 9 * 128, cols: 576 });
  });

  it("gives qwen2 biases on q, k and v only, and llama on all four when asked", () => {
    const expected = { attentionBias: true, attentionOutputBias: false, mlpBias: false };
    expect(parse(qwen2)).toMatchObject(expected);
    expect(parse({ ...smolLm2, attention_bias: true, mlp_bias: true })).toMatchObject({
      attentionBias: true,
      attentionOutputBias: true,
      mlpBias: true,
    });
  });

  it("reads qwen3: heads of a size of their own, with norms and without biases", () => {
    const config = parse(qwen3);
    expect(config).toMatchObject({
      modelType: "qwen3",
      headDim: 128,
      ropeTheta: 1000000,
      attentionBias: false,
      attentionOutputBias: false,
      mlpBias: false,
      qkNorm: true,
    });
    expect(listLinears(config)[0]).toMatchObject({ rows: 2048, cols: 1024 });
    expect(listLinears(config)[3]).toMatchObject({ rows: 1024, cols: 2048 });
    const { head_dim: _, ...rest } = qwen3;
    expect(parse(rest).headDim).toBe(128); // Qwen3Config's default, not 1024 / 16
    const biased = { attentionBias: true, attentionOutputBias: true };
    expect(parse({ ...qwen3, attention_bias: true })).toMatchObject(biased);
  });

  it("reads smollm3: layers without RoPE, by list or by interval; tied unless it says otherwise", () => {
    const expected = [3, 7, 11, 15, 19, 23, 27, 31, 35];
    expect(parse(smolLm3)).toMatchObject({
      headDim: 128,
      ropeTheta: 5000000,
      tieWordEmbeddings: true,
      attentionBias: false,
      qkNorm: false,
      noRopeLayers: expected,
    });
    expect(parse({ ...smolLm3, no_rope_layers: null }).noRopeLayers).toEqual(expected);
    const { no_rope_layers: list, no_rope_layer_interval: _, rope_theta: __, ...rest } = smolLm3;
    expect(parse(rest)).toMatchObject({ noRopeLayers: expected, ropeTheta: 2000000 });
    const sixth = parse({ ...rest, no_rope_layer_interval: 6 });
    expect(sixth.noRopeLayers).toEqual([5, 11, 17, 23, 29, 35]);
    const first = parse({ ...rest, no_rope_layers: [0, ...list.slice(1), 0] }); // more than layers
    expect(first.noRopeLayers).toEqual([0, ...expected]);
    expect(parse({ ...rest, tie_word_embeddings: false }).tieWordEmbeddings).toBe(false);
    const biased = { attentionBias: true, attentionOutputBias: true, mlpBias: true };
    expect(parse({ ...rest, attention_bias: true, mlp_bias: true })).toMatchObject(biased);
    // what is no field of other types means nothing there
    expect(parse({ ...smolLm2, no_rope_layers: [0] }).noRopeLayers).toEqual([]);
  });

  it("reads gemma3_text: windows, two rotations, four norms; as transformers 4 and 5 write it, and by its defaults", () => {
    const layers = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16];
    const expected = {
      headDim: 256,
      ropeTheta: 1000000,
      ropeScaling: undefined,
      tieWordEmbeddings: true,
      qkNorm: true,
      activation: "gelu",
      embeddingScale: Math.sqrt(640),
      normOffset: 1,
      queryScale: 1,
      outputNorms: true,
      sliding: { window: 512, ropeTheta: 10000, layers },
    };
    expect(parse(gemma3)).toMatchObject(expected);
    const { rope_theta: _, rope_local_base_freq: __, rope_scaling: ___, ...rest } = gemma3;
    expect(parse(rest)).toMatchObject(expected);
    const nested = {
      full_attention: { rope_type: "linear", factor: 8, rope_theta: 500000 },
      sliding_attention: { rope_type: "default", rope_theta: 20000 },
    };
    expect(parse({ ...rest, rope_parameters: nested })).toMatchObject({
      ropeTheta: 500000,
      ropeScaling: { type: "linear", factor: 8 },
      sliding: { ropeTheta: 20000 },
    });
    const scaled = parse({ ...gemma3, rope_scaling: { rope_type: "linear", factor: 8 } });
    expect(scaled.ropeScaling).toEqual({ type: "linear", factor: 8 });
    expect(parse({ ...gemma3, layer_types: null })).toMatchObject(expected);
    const third = parse({ ...gemma3, layer_types: null, sliding_window_pattern: 9 });
    expect(third.sliding!.layers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16]);
    const bare = { ...gemma3, head_dim: null, num_key_value_heads: null, sliding_window: null };
    expect(parse(bare)).toMatchObject({ headDim: 256, kvHeads: 4, sliding: { window: 4096 } });
    const largest = { ...gemma3, head_dim: 128, query_pre_attn_scalar: 168 };
    expect(parse(largest).queryScale).toBe(Math.sqrt(128 / 168));
    expect(parse(gemma3, { eos_token_id: [1, 106] }).eosTokenIds).toEqual([1, 106]);
  });

  it("takes token ids as number or list, generation_config.json first", () => {
    expect(parse({ ...smolLm2, eos_token_id: [2, 3] }).eosTokenIds).toEqual([2, 3]);
    const generation = { eos_token_id: [128001, 128008], temperature: 0.6 };
    expect(parse(smolLm2, generation)).toMatchObject({
      bosTokenIds: [0],
      eosTokenIds: [128001, 128008],
    });
    expect(parse(smolLm2, { eos_token_id: null }).eosTokenIds).toEqual([0]);
  });

  it("takes a mistral window that never closes", () => {
    const config = parse({ ...smolLm2, model_type: "mistral", sliding_window: 8192 });
    expect(config.modelType).toBe("mistral");
  });
});

describe("parseModelConfig refuses", () => {
  const cases: [name: string, json: unknown, code: string, text: RegExp][] = [
    ["no object", [1], "MODEL_CONFIG_INVALID", /must hold an object.*found \[1\] \(config\.json\)/],
    ["no model_type", { ...smolLm2, model_type: undefined }, "MODEL_CONFIG_INVALID", /model_type/],
    ...["qwen3_next", "gemma2", "gemma", "phi3", "llava"].map(
      (model_type): [string, unknown, string, RegExp] => [
        model_type,
        { ...smolLm2, model_type },
        "MODEL_UNSUPPORTED",
        new RegExp(
          `model_type "${model_type}" is not supported: expected llama.*smollm3 or gemma3_text`,
        ),
      ],
    ),
    ...["qwen3_moe", "qwen2_moe", "mixtral"].map(
      (model_type): [string, unknown, string, RegExp] => [
        model_type,
        { ...qwen3, model_type },
        "MODEL_UNSUPPORTED",
        new RegExp(`model_type "${model_type}", a mixture of experts, is not supported: expected`),
      ],
    ),
    ...["gemma3", "gemma3n", "gemma3n_text"].map(
      (model_type): [string, unknown, string, RegExp] => [
        model_type,
        { model_type, text_config: gemma3 },
        "MODEL_UNSUPPORTED",
        new RegExp(`model_type "${model_type}".* is not supported: expected llama.*gemma3_text`),
      ],
    ),
    ...(
      [
        ["attn_logit_softcapping", 50, /attn_logit_softcapping "50" is not supported/],
        ["final_logit_softcapping", 30, /final_logit_softcapping "30" is not supported/],
        ["use_bidirectional_attention", true, /use_bidirectional_attention "true"/],
        ["hidden_activation", "gelu", /hidden_activation "gelu".*expected gelu_pytorch_tanh/],
        ["layer_types", Array(18).fill("chunked_attention"), /layer type "chunked_attention"/],
        [
          "rope_parameters",
          { sliding_attention: { rope_type: "linear", factor: 2 } },
          /scaled positions of sliding layers/,
        ],
      ] as const
    ).map(([field, value, text]): [string, unknown, string, RegExp] => [
      `gemma3_text with ${field} ${String(value).slice(0, 20)}`,
      { ...gemma3, [field]: value },
      "MODEL_UNSUPPORTED",
      text,
    ]),
    [
      "too few types of layers",
      { ...gemma3, layer_types: ["full_attention"] },
      "MODEL_CONFIG_INVALID",
      /layer_types is too short: expected a type for each of 18 layers/,
    ],
    [
      "a window of nothing",
      { ...gemma3, sliding_window: 0 },
      "MODEL_CONFIG_INVALID",
      /sliding_window/,
    ],
    ...["yarn", "dynamic", "longrope"].map((rope_type): [string, unknown, string, RegExp] => [
      rope_type,
      { ...smolLm2, rope_scaling: { rope_type, factor: 4 } },
      "MODEL_UNSUPPORTED",
      new RegExp(`rope type "${rope_type}" is not supported: expected default, linear or llama3`),
    ]),
    ...["gptq", "bitsandbytes"].map((quant_method): [string, unknown, string, RegExp] => [
      quant_method,
      { ...smolLm2, quantization_config: { quant_method, bits: 4 } },
      "MODEL_UNSUPPORTED",
      new RegExp(`weights quantized by ${quant_method} cannot be read`),
    ]),
    [
      "a classifier",
      { ...smolLm2, architectures: ["LlamaForSequenceClassification"] },
      "MODEL_UNSUPPORTED",
      /not a causal language model.*LlamaForSequenceClassification/,
    ],
    ["gelu", { ...smolLm2, hidden_act: "gelu" }, "MODEL_UNSUPPORTED", /hidden_act "gelu"/],
    [
      "a mistral window shorter than the context",
      { ...smolLm2, model_type: "mistral", sliding_window: 4096 },
      "MODEL_UNSUPPORTED",
      /sliding-window attention.*max_position_embeddings \(8192\), found sliding_window 4096/,
    ],
    [
      "mistral's default window",
      { ...smolLm2, model_type: "mistral" },
      "MODEL_UNSUPPORTED",
      /found sliding_window 4096/,
    ],
    [
      "a qwen2 window",
      { ...qwen2, use_sliding_window: true },
      "MODEL_UNSUPPORTED",
      /use_sliding_window false/,
    ],
    [
      "a qwen3 window",
      { ...qwen3, use_sliding_window: true, sliding_window: 4096 },
      "MODEL_UNSUPPORTED",
      /use_sliding_window false/,
    ],
    [
      "a smollm3 window",
      { ...smolLm3, use_sliding_window: true, sliding_window: 4096 },
      "MODEL_UNSUPPORTED",
      /use_sliding_window false/,
    ],
    [
      "too few layers with or without RoPE",
      { ...smolLm3, no_rope_layers: [1, 1, 1, 0] },
      "MODEL_CONFIG_INVALID",
      /no_rope_layers is too short: expected a number for each of 36 layers, found \[1,1,1,0\]/,
    ],
    [
      "layers with half a RoPE",
      { ...smolLm3, no_rope_layers: smolLm3.no_rope_layers.map((rope) => rope / 2) },
      "MODEL_CONFIG_INVALID",
      /no_rope_layers\.0 is missing or invalid/,
    ],
    [
      "no interval",
      { ...smolLm3, no_rope_layers: null, no_rope_layer_interval: 0 },
      "MODEL_CONFIG_INVALID",
      /no_rope_layer_interval/,
    ],
    [
      "sliding layers of qwen3",
      { ...qwen3, layer_types: ["full_attention", "sliding_attention"] },
      "MODEL_UNSUPPORTED",
      /layer type "sliding_attention"/,
    ],
    [
      "sliding layers",
      { ...qwen2, layer_types: ["full_attention", "sliding_attention"] },
      "MODEL_UNSUPPORTED",
      /layer type "sliding_attention"/,
    ],
    [
      "partial rotation",
      { ...smolLm2, partial_rotary_factor: 0.5 },
      "MODEL_UNSUPPORTED",
      /partial_rotary_factor 1, found 0\.5/,
    ],
    ["no vocab_size", { ...smolLm2, vocab_size: undefined }, "MODEL_CONFIG_INVALID", /vocab_size/],
    [
      "text for a number",
      { ...smolLm2, hidden_size: "576" },
      "MODEL_CONFIG_INVALID",
      /hidden_size/,
    ],
    ["a fraction", { ...smolLm2, hidden_size: 576.5 }, "MODEL_CONFIG_INVALID", /hidden_size/],
    [
      "zero layers",
      { ...smolLm2, num_hidden_layers: 0 },
      "MODEL_CONFIG_INVALID",
      /num_hidden_layers/,
    ],
    ["1e12 layers", { ...smolLm2, num_hidden_layers: 1e12 }, "MODEL_CONFIG_INVALID", /<=2048/],
    [
      "a huge vocabulary",
      { ...smolLm2, vocab_size: 2 ** 40 },
      "MODEL_CONFIG_INVALID",
      /vocab_size/,
    ],
    [
      "a huge head_dim",
      { ...smolLm2, head_dim: 2 ** 31 },
      "MODEL_CONFIG_INVALID",
      /head_dim is missing or invalid/,
    ],
    ["an odd head_dim", { ...smolLm2, head_dim: 63 }, "MODEL_CONFIG_INVALID", /found 63/],
    ["a broken head_dim", { ...smolLm2, hidden_size: 577 }, "MODEL_CONFIG_INVALID", /found 64\.1/],
    ["kv heads", { ...smolLm2, num_key_value_heads: 4 }, "MODEL_CONFIG_INVALID", /divisor.*\(9\)/],
    ["a negative eos", { ...smolLm2, eos_token_id: -1 }, "MODEL_CONFIG_INVALID", /eos_token_id/],
    ["a negative theta", { ...smolLm2, rope_theta: -1 }, "MODEL_CONFIG_INVALID", /rope_theta/],
    [
      "linear without factor",
      { ...smolLm2, rope_scaling: { type: "linear" } },
      "MODEL_CONFIG_INVALID",
      /rope_scaling\.factor is missing or invalid: expected a number above 0, found nothing/,
    ],
    [
      "llama3 with crossed factors",
      { ...smolLm2, rope_scaling: { ...llama3Rope, high_freq_factor: 1 } },
      "MODEL_CONFIG_INVALID",
      /high_freq_factor is too small: expected more than low_freq_factor \(1\), found 1/,
    ],
  ];
  it.each(cases)("%s", (_, json, code, text) => {
    const error = catchError(() => parse(json));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(text);
    expect(error.message).not.toContain("\n");
  });

  it("a broken generation_config.json, naming that file", () => {
    const error = catchError(() => parse(smolLm2, { eos_token_id: "</s>" }));
    expect(error.code).toBe("MODEL_CONFIG_INVALID");
    expect(error.message).toMatchInlineSnapshot(
      `"eos_token_id is missing or invalid: expected (number | Array), found "</s>" (generation_config.json)"`,
    );
  });
});

describe("listLinears", () => {
  it("lists q, k, v, o, gate, up, down per layer in order, then lm_head, with [out, in]", () => {
    const linears = listLinears(parse(qwen2));
    expect(linears).toHaveLength(28 * 7 + 1);
    expect(linears.slice(7, 14).map((l) => [l.path, l.layer, l.rows, l.cols])).toEqual([
      ["model.layers.1.self_attn.q_proj", 1, 1536, 1536],
      ["model.layers.1.self_attn.k_proj", 1, 256, 1536],
      ["model.layers.1.self_attn.v_proj", 1, 256, 1536],
      ["model.layers.1.self_attn.o_proj", 1, 1536, 1536],
      ["model.layers.1.mlp.gate_proj", 1, 8960, 1536],
      ["model.layers.1.mlp.up_proj", 1, 8960, 1536],
      ["model.layers.1.mlp.down_proj", 1, 1536, 8960],
    ]);
    const head = { path: "lm_head", layer: -1, name: "lm_head", rows: 151936, cols: 1536 };
    expect(linears.at(-1)).toEqual(head);
  });
});

function catchError(run: () => unknown): TureenError {
  try {
    run();
  } catch (error) {
    if (error instanceof TureenError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
