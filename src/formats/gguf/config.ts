// A GGUF model's metadata as transformers' config.json and generation_config.json would say it. What is supported is decided
// where they are parsed (model/config.ts); refused here is only what those files have no word for.
import { TureenError } from "../../errors.ts";
import type { GgufHeader } from "./header.ts";
import type { Metadata } from "./metadata.ts";
import { toRopeScaling } from "./rope.ts";
import { findEndTokens, findSpecialId } from "./vocabulary.ts";

/** Options that change what a model computes, and the value at which they do not. */
const NEUTRAL: readonly (readonly [key: string, neutral: number | boolean])[] = [
  ["expert_count", 0],
  ["attention.causal", true],
  ["attention.clamp_kqv", 0],
  ["attention.max_alibi_bias", 0],
  ["attention.scale", 0],
  ["embedding_scale", 1],
  ["residual_scale", 1],
  ["logit_scale", 1],
  ["rope.scaling.attn_factor", 1],
  ["use_parallel_residual", false],
];

const ARCHITECTURES: Readonly<Record<string, string>> = {
  llama: "LlamaForCausalLM",
  mistral: "MistralForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
  gemma3_text: "Gemma3ForCausalLM",
  smollm3: "SmolLM3ForCausalLM", // llama.cpp has no key for layers without RoPE: it is every fourth, the config's default
};

/**
 * @param tensors of all files, by llama.cpp's names
 * @param ropeFactors of the tensor `rope_freqs.weight`, if there is one
 * @throws TureenError `MODEL_UNSUPPORTED`, `FORMAT_INVALID`
 */
export function toConfigJson(
  tensors: GgufHeader["tensors"],
  metadata: Metadata,
  ropeFactors: Float32Array | undefined,
  file: string,
): Record<string, unknown> {
  const architecture = metadata.text("general.architecture") ?? "none";
  const number = (key: string): number | undefined =>
    metadata.sameInAllLayers(`${architecture}.${key}`);
  checkNeutral(metadata, architecture, file);
  const heads = number("attention.head_count");
  const hidden = number("embedding_length");
  const headDim = number("attention.key_length") ?? ratio(hidden, heads);
  checkHeads(number, headDim, file);
  const window = number("attention.sliding_window") || undefined;
  // llama.cpp knows mistral by the name of llama; a window is what sets it apart.
  const isMistral = architecture === "llama" && window !== undefined;
  const modelType = isMistral
    ? "mistral"
    : architecture === "gemma3"
      ? "gemma3_text"
      : architecture;
  const theta = shortest(number("rope.freq_base") ?? 10000);
  const hasBias = (name: string): boolean => tensors.has(`blk.0.${name}.bias`);
  return {
    architectures: [ARCHITECTURES[modelType] ?? `${modelType}ForCausalLM`],
    model_type: modelType,
    hidden_act: "silu",
    vocab_size: tensors.get("token_embd.weight")?.shape[0] ?? number("vocab_size"),
    hidden_size: hidden,
    intermediate_size: number("feed_forward_length"),
    num_hidden_layers: number("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: number("attention.head_count_kv") ?? heads,
    head_dim: headDim,
    max_position_embeddings: number("context_length"),
    rms_norm_eps: shortest(number("attention.layer_norm_rms_epsilon") ?? 1e-6),
    rope_theta: theta,
    rope_scaling: toRopeScaling(metadata, architecture, theta, ropeFactors, file),
    tie_word_embeddings: !tensors.has("output.weight"),
    attention_bias: hasBias("attn_q"),
    mlp_bias: hasBias("ffn_gate"),
    // of these, others than llama would take a default
    ...(isMistral ? { sliding_window: window } : { use_sliding_window: false }),
    ...(architecture === "gemma3" ? toGemma3(number, window, hidden, heads, headDim, file) : {}),
    torch_dtype: "float32",
  };
}

/** 27B alone divides its scores by the root of another size; files do not say, and llama.cpp knows it by its layers. */
const GEMMA3_27B_LAYERS = 62;

/** What the file, or llama.cpp where it is silent, says of Gemma 3. */
function toGemma3(
  number: (key: string) => number | undefined,
  window: number | undefined,
  hidden: number | undefined,
  heads: number | undefined,
  headDim: number | undefined,
  file: string,
): Record<string, unknown> {
  if (window === undefined) {
    throw new TureenError(
      "MODEL_UNSUPPORTED",
      "Gemma 3 without a sliding window is not supported",
      {
        expected: "gemma3.attention.sliding_window",
        found: "none",
        where: file,
      },
    );
  }
  const isLargest = number("block_count") === GEMMA3_27B_LAYERS;
  return {
    hidden_activation: "gelu_pytorch_tanh",
    sliding_window: window,
    sliding_window_pattern: number("attention.sliding_window_pattern"),
    rope_local_base_freq: shortest(number("rope.freq_base_swa") ?? 10000),
    query_pre_attn_scalar: isLargest ? ratio(hidden, heads) : headDim,
    attn_logit_softcapping: number("attn_logit_softcapping"),
    final_logit_softcapping: number("final_logit_softcapping"),
  };
}

/** @throws TureenError `FORMAT_INVALID` */
export function toGenerationJson(metadata: Metadata): Record<string, unknown> {
  const bos = findSpecialId(metadata, "bos");
  const eos = findEndTokens(metadata);
  return {
    ...(bos === undefined ? {} : { bos_token_id: bos }),
    ...(eos.length === 0 ? {} : { eos_token_id: eos }),
  };
}

function checkNeutral(metadata: Metadata, architecture: string, file: string): void {
  for (const [name, neutral] of NEUTRAL) {
    const key = `${architecture}.${name}`;
    const value = typeof neutral === "number" ? metadata.number(key) : metadata.flag(key);
    if (value === undefined || value === neutral) continue;
    throw new TureenError("MODEL_UNSUPPORTED", `${name} is not supported`, {
      expected: String(neutral),
      found: String(value),
      where: `${key} in ${file}`,
    });
  }
}

function checkHeads(
  number: (key: string) => number | undefined,
  headDim: number | undefined,
  file: string,
): void {
  for (const key of ["attention.value_length", "rope.dimension_count"]) {
    const value = number(key);
    if (value === undefined || value === headDim) continue;
    throw new TureenError(
      "MODEL_UNSUPPORTED",
      `${key} other than the heads' size is not supported`,
      {
        expected: String(headDim),
        found: String(value),
        where: file,
      },
    );
  }
}

function ratio(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined || b === 0 ? undefined : a / b;
}

/** The shortest decimal that is the same f32: a file's 9.99999974738e-6 was a config's 1e-5. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}
