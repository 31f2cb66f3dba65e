// What the decoder needs to know of a model, parsed and checked from config.json. Owns the field names of transformers, old
// and new, and the list of what is supported; everything else in the library sees `ModelConfig` only. Reads no tensor.
import * as v from "valibot";
import type { RopeScaling } from "../backend/rope-frequencies.ts";
import { TureenError } from "../errors.ts";
import { configError, unsupported, validate } from "./config-check.ts";
import { GEMMA3_HEAD_DIM, GEMMA3_KV_HEADS, parseGemma3 } from "./config-gemma3.ts";
import { parseRope } from "./config-rope.ts";

/** A Llama-family decoder's shape. */
export interface ModelConfig {
  /** `model_type` */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** `max_position_embeddings` */
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | undefined;
  readonly tieWordEmbeddings: boolean;
  /** Bias on q, k, v (and o where `attentionOutputBias`). */
  readonly attentionBias: boolean;
  readonly attentionOutputBias: boolean;
  readonly mlpBias: boolean;
  /** An RMS norm of every head of q and k, before they are rotated (Qwen3). */
  readonly qkNorm: boolean;
  /** Decoder layers that do not rotate q and k (SmolLM3), in order. */
  readonly noRopeLayers: readonly number[];
  /** Of an MLP: silu(gate) ⊙ up, or gelu (its approximation with tanh: Gemma 3). */
  readonly activation: "silu" | "gelu";
  /**
   * What embeddings are multiplied with where they enter the stream: 1, in Gemma 3 sqrt(hiddenSize). As f32, like llama.cpp, and
   * transformers where it computes in f32; with weights in BF16 it rounds the root to BF16, by 0.2 % for the 270M model.
   */
  readonly embeddingScale: number;
  /** Added to the weights of all norms when they are loaded: 0, in Gemma 3 1. */
  readonly normOffset: number;
  /** What the weights of q's norm are multiplied with then: 1, in Gemma 3 sqrt(headDim / query_pre_attn_scalar). */
  readonly queryScale: number;
  /** Also norms what attention and MLP give, before it enters the stream (Gemma 3). */
  readonly outputNorms: boolean;
  /** Layers that see the last `window` positions only, and have rotary frequencies of their own (Gemma 3); in order. */
  readonly sliding:
    | { readonly window: number; readonly ropeTheta: number; readonly layers: readonly number[] }
    | undefined;
  readonly bosTokenIds: readonly number[];
  readonly eosTokenIds: readonly number[];
}

/** The linear layers of one decoder layer, by PEFT's and transformers' names, with their shapes [out, in]. */
export type LinearName =
  | "q_proj"
  | "k_proj"
  | "v_proj"
  | "o_proj"
  | "gate_proj"
  | "up_proj"
  | "down_proj";

/** A linear layer that adapters can target. */
export interface LinearInfo {
  /** Full module path without `.weight`: `model.layers.3.self_attn.q_proj`, or `lm_head`. The key of soups and banks. */
  readonly path: string;
  /** Decoder layer, or -1 for `lm_head`. */
  readonly layer: number;
  readonly name: LinearName | "lm_head";
  readonly rows: number;
  readonly cols: number;
}

// A config.json is a stranger's file, and its numbers become loop bounds and allocations before any tensor is seen. Each
// limit is several times the largest model published, so that only nonsense meets it.
const MAX_VOCAB = 4_194_304; // Gemma: 262 144
const MAX_FEATURES = 1_048_576; // hidden and intermediate size; Llama 3.1 405B: 16 384 and 53 248
const MAX_LAYERS = 2048; // Llama 3.1 405B: 126
const MAX_HEADS = 4096; // Llama 3.1 405B: 128
const MAX_HEAD_DIM = 4096; // Gemma: 256
const MAX_POSITIONS = 67_108_864; // Llama 4 Scout: 10 485 760

const MODEL_TYPES = ["llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma3_text"] as const;
type ModelType = (typeof MODEL_TYPES)[number];
const SUPPORTED =
  "llama (also SmolLM2 and TinyLlama), mistral, qwen2, qwen3, smollm3 or gemma3_text";

/** Where Qwen3Config finds no `head_dim`: it does not follow from the hidden size. */
const QWEN3_HEAD_DIM = 128;
/** Where SmolLM3Config finds no `rope_theta`. */
const SMOLLM3_THETA = 2_000_000;

const count = (limit: number) => v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(limit));
const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const tokenId = v.pipe(v.number(), v.integer(), v.minValue(0));
const tokenIds = v.nullish(v.union([tokenId, v.array(tokenId)]));

const configSchema = v.looseObject({
  vocab_size: count(MAX_VOCAB),
  hidden_size: count(MAX_FEATURES),
  intermediate_size: count(MAX_FEATURES),
  num_hidden_layers: count(MAX_LAYERS),
  num_attention_heads: count(MAX_HEADS),
  num_key_value_heads: v.nullish(count(MAX_HEADS)),
  head_dim: v.nullish(count(MAX_HEAD_DIM)),
  max_position_embeddings: count(MAX_POSITIONS),
  hidden_act: v.nullish(v.string(), "silu"),
  rms_norm_eps: v.nullish(v.pipe(v.number(), v.minValue(0), v.maxValue(1)), 1e-6),
  tie_word_embeddings: v.nullish(v.boolean()),
  attention_bias: v.nullish(v.boolean(), false),
  mlp_bias: v.nullish(v.boolean(), false),
  sliding_window: v.nullish(count(MAX_POSITIONS)),
  use_sliding_window: v.nullish(v.boolean(), false),
  layer_types: v.nullish(v.array(v.string())),
  no_rope_layers: v.nullish(v.array(v.picklist([0, 1]))),
  no_rope_layer_interval: v.nullish(count(MAX_LAYERS), 4),
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
  rope_theta: v.nullish(positive),
  rope_scaling: v.nullish(v.looseObject({})),
  rope_parameters: v.nullish(v.looseObject({})),
  original_max_position_embeddings: v.nullish(positive),
  partial_rotary_factor: v.nullish(v.number()),
});
const generationSchema = v.looseObject({ bos_token_id: tokenIds, eos_token_id: tokenIds });

type RawConfig = v.InferOutput<typeof configSchema>;

/**
 * Parses config.json as written by transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
 *
 * Defaults are those of transformers' LlamaConfig: `head_dim` = hidden_size / num_attention_heads, `num_key_value_heads` =
 * num_attention_heads, `rms_norm_eps` 1e-6, `rope_theta` 10000, untied embeddings, no biases. qwen2 always has biases on q, k
 * and v; qwen3 has heads of 128 and norms them; smollm3 has tied embeddings and `rope_theta` 2000000; for gemma3_text
 * see config-gemma3.ts. Token ids of `generationConfig` take precedence, as in transformers' `generate`.
 *
 * @param json parsed config.json
 * @param generationConfig parsed generation_config.json, if there is one
 * @param where for messages: the file's name
 * @throws TureenError `MODEL_CONFIG_INVALID` if a field is missing, of the wrong type or contradicts another;
 * `MODEL_UNSUPPORTED`, naming the field, for an architecture or option outside the decoder
 */
export function parseModelConfig(
  json: unknown,
  generationConfig: unknown | undefined,
  where: string,
): ModelConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw configError("config.json must hold an object", "{…}", json, where);
  }
  // Before the schema: other architectures have other fields, and their name is the useful message.
  const modelType = checkArchitecture(json as Record<string, unknown>, where);
  const raw = validate(configSchema, json, where);
  const generation = validate(generationSchema, generationConfig ?? {}, "generation_config.json");
  checkOptions(raw, modelType, where);

  const heads = raw.num_attention_heads;
  const gemma3 = modelType === "gemma3_text";
  const kvHeads = raw.num_key_value_heads ?? (gemma3 ? GEMMA3_KV_HEADS : heads);
  if (heads % kvHeads !== 0) {
    const expected = `a divisor of num_attention_heads (${heads})`;
    throw configError("num_key_value_heads does not divide the heads", expected, kvHeads, where);
  }
  const qwen3 = modelType === "qwen3";
  const ownHeadDim = qwen3 ? QWEN3_HEAD_DIM : gemma3 ? GEMMA3_HEAD_DIM : undefined;
  const headDim = raw.head_dim ?? ownHeadDim ?? raw.hidden_size / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    const what = `each attention head must have an even number of features`;
    throw configError(what, "an even head_dim (default hidden_size / heads)", headDim, where);
  }
  const smollm3 = modelType === "smollm3";
  const rope = smollm3 ? { ...raw, rope_theta: raw.rope_theta ?? SMOLLM3_THETA } : raw;
  const maxPositions = raw.max_position_embeddings;
  const positions = gemma3
    ? parseGemma3(json, { layers: raw.num_hidden_layers, headDim, maxPositions }, where)
    : { ...parseRope(rope, maxPositions, where), queryScale: 1, sliding: undefined };
  const llama = modelType === "llama" || smollm3;
  const attentionOutputBias = (llama || qwen3 || gemma3) && raw.attention_bias;
  return {
    modelType,
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    layers: raw.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    maxPositions,
    rmsNormEps: raw.rms_norm_eps,
    ...positions,
    tieWordEmbeddings: raw.tie_word_embeddings ?? (smollm3 || gemma3),
    attentionBias: modelType === "qwen2" || attentionOutputBias,
    attentionOutputBias,
    mlpBias: llama && raw.mlp_bias,
    qkNorm: qwen3 || gemma3,
    noRopeLayers: smollm3 ? findNoRopeLayers(raw, where) : [],
    activation: gemma3 ? "gelu" : "silu",
    embeddingScale: gemma3 ? Math.sqrt(raw.hidden_size) : 1,
    normOffset: gemma3 ? 1 : 0,
    outputNorms: gemma3,
    bosTokenIds: toList(generation.bos_token_id ?? raw.bos_token_id),
    eosTokenIds: toList(generation.eos_token_id ?? raw.eos_token_id),
  };
}

/** How many positions a layer sees; `undefined` where it is all. */
export function findWindow({ sliding }: ModelConfig, layer: number): number | undefined {
  return sliding?.layers.includes(layer) ? sliding.window : undefined;
}

/** Every linear layer that adapters can target, in the model's order: q, k, v, o, gate, up, down per layer, then lm_head. */
export function listLinears(config: ModelConfig): LinearInfo[] {
  const { hiddenSize: hidden, intermediateSize: inner, headDim } = config;
  const qRows = config.heads * headDim;
  const kvRows = config.kvHeads * headDim;
  const linears: LinearInfo[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    const add = (block: string, name: LinearName, rows: number, cols: number): void => {
      linears.push({ path: `model.layers.${layer}.${block}.${name}`, layer, name, rows, cols });
    };
    add("self_attn", "q_proj", qRows, hidden);
    add("self_attn", "k_proj", kvRows, hidden);
    add("self_attn", "v_proj", kvRows, hidden);
    add("self_attn", "o_proj", hidden, qRows);
    add("mlp", "gate_proj", inner, hidden);
    add("mlp", "up_proj", inner, hidden);
    add("mlp", "down_proj", hidden, inner);
  }
  linears.push({
    path: "lm_head",
    layer: -1,
    name: "lm_head",
    rows: config.vocabSize,
    cols: hidden,
  });
  return linears;
}

function checkArchitecture(json: Record<string, unknown>, where: string): ModelType {
  const found = json.model_type;
  if (typeof found !== "string") {
    throw configError("model_type is missing", SUPPORTED, found, where);
  }
  const modelType = MODEL_TYPES.find((type) => type === found);
  if (modelType === undefined) {
    const isMixture = /moe|mixtral/.test(found);
    const isMixed = /^gemma3(n|$)/.test(found); // its text part alone is another model_type
    const kind = isMixture
      ? ", a mixture of experts,"
      : isMixed
        ? ", which is not text alone,"
        : "";
    throw unsupported(`model_type "${found}"${kind} is not supported`, SUPPORTED, found, where);
  }
  const quantization = json.quantization_config;
  if (quantization !== undefined && quantization !== null) {
    const method = (quantization as { quant_method?: unknown }).quant_method;
    const found = typeof method === "string" ? method : "a quantization_config";
    throw new TureenError("MODEL_UNSUPPORTED", `weights quantized by ${found} cannot be read`, {
      expected: "F32, F16 or BF16 weights",
      found,
      where,
      hint: "Use the unquantized model; it can be quantized while loading.",
    });
  }
  const { architectures } = json;
  if (Array.isArray(architectures) && architectures.length > 0) {
    if (!architectures.some((name) => typeof name === "string" && name.endsWith("ForCausalLM"))) {
      const what = "the model is not a causal language model";
      throw unsupported(what, "architectures with …ForCausalLM", architectures.join(", "), where);
    }
  }
  return modelType;
}

function checkOptions(raw: RawConfig, modelType: ModelType, where: string): void {
  if (modelType === "gemma3_text") return; // parseGemma3's
  if (raw.hidden_act !== "silu" && raw.hidden_act !== "swish") {
    throw unsupported(
      `hidden_act "${raw.hidden_act}" is not supported`,
      "silu",
      raw.hidden_act,
      where,
    );
  }
  // transformers' MistralConfig: 4096 where the field is absent, no window where it is null.
  const window =
    modelType === "mistral"
      ? (raw.sliding_window ?? (raw.sliding_window === null ? null : 4096))
      : null;
  if (window !== null && window < raw.max_position_embeddings) {
    const expected = `null or at least max_position_embeddings (${raw.max_position_embeddings})`;
    throw unsupported(
      "sliding-window attention is not supported",
      expected,
      `sliding_window ${window}`,
      where,
    );
  }
  if (["qwen2", "qwen3", "smollm3"].includes(modelType) && raw.use_sliding_window) {
    throw unsupported(
      "sliding-window attention is not supported",
      "use_sliding_window false",
      "true",
      where,
    );
  }
  const layerType =
    modelType === "llama" ? undefined : raw.layer_types?.find((t) => t !== "full_attention");
  if (layerType !== undefined) {
    throw unsupported(
      `layer type "${layerType}" is not supported`,
      "full_attention",
      layerType,
      where,
    );
  }
}

/** `no_rope_layers` says of each layer whether it rotates (1) or not (0); without it the last of every few does not. */
function findNoRopeLayers(raw: RawConfig, where: string): number[] {
  const { num_hidden_layers: layers, no_rope_layers: list, no_rope_layer_interval: step } = raw;
  if (list && list.length < layers) {
    const expected = `a number for each of ${layers} layers`;
    throw configError("no_rope_layers is too short", expected, list, where);
  }
  const all = Array.from({ length: layers }, (_, layer) => layer);
  return all.filter((layer) => (list ? list[layer] === 0 : (layer + 1) % step === 0));
}

function toList(ids: number | number[] | null | undefined): number[] {
  if (ids === null || ids === undefined) return [];
  return typeof ids === "number" ? [ids] : ids;
}
