// Small random models as GGUF files, and the same weights by transformers' names and order of rows.
import { listLinears, type ModelConfig } from "../../src/model/config.ts";
import { bytesOf, type GgufSpec, type GgufTensorSpec, type GgufValue, makeGguf } from "./gguf.ts";
import { BLOCK_TYPES, blockValues, randomBlocks } from "./gguf-blocks.ts";
import { type GoldenTensor, randomTensors, tinyConfig } from "./models.ts";
import { randomValues } from "./values.ts";

/** `F32`, `F16`, `BF16`, or a block type. */
export type GgufTypeName = string;

export interface GgufModel {
  readonly spec: GgufSpec;
  readonly file: Uint8Array;
  /** By transformers' names, what the file stands for. */
  readonly tensors: ReadonlyMap<string, GoldenTensor>;
  readonly config: ModelConfig;
}

/** Rows of whole K blocks. */
export const GGUF_CONFIG: ModelConfig = tinyConfig({
  vocabSize: 300,
  hiddenSize: 256,
  intermediateSize: 512,
  headDim: 64,
});

/** First, where the architecture is gemma3. */
const GEMMA3_NAMES: readonly (readonly [hub: RegExp, gguf: string])[] = [
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, "blk.$1.post_attention_norm"],
  [/^model\.layers\.(\d+)\.pre_feedforward_layernorm/, "blk.$1.ffn_norm"],
  [/^model\.layers\.(\d+)\.post_feedforward_layernorm/, "blk.$1.post_ffw_norm"],
];

const NAMES: readonly (readonly [hub: RegExp, gguf: string])[] = [
  [/^model\.embed_tokens/, "token_embd"],
  [/^model\.norm/, "output_norm"],
  [/^lm_head/, "output"],
  [/^model\.layers\.(\d+)\.input_layernorm/, "blk.$1.attn_norm"],
  [/^model\.layers\.(\d+)\.post_attention_layernorm/, "blk.$1.ffn_norm"],
  [/^model\.layers\.(\d+)\.self_attn\.([qkv])_proj/, "blk.$1.attn_$2"],
  [/^model\.layers\.(\d+)\.self_attn\.o_proj/, "blk.$1.attn_output"],
  [/^model\.layers\.(\d+)\.self_attn\.([qk])_norm/, "blk.$1.attn_$2_norm"],
  [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj/, "blk.$1.ffn_$2"],
];

/** Architectures whose q and k have another order of rows. */
const PERMUTED = ["llama", "smollm3"];

export function ggufName(name: string, architecture = "llama"): string {
  const names = architecture === "gemma3" ? [...GEMMA3_NAMES, ...NAMES] : NAMES;
  const [pattern, to] = names.find(([from]) => from.test(name))!;
  return name.replace(pattern, to);
}

/** Rows 0, 1, … half, half + 1, … of every head go to 0, half, 1, half + 1, … (llama.cpp's converter, `permute`). */
export function interleave(values: Float32Array, rows: number, headDim: number): Float32Array {
  const cols = values.length / rows;
  const out = new Float32Array(values.length);
  const half = headDim / 2;
  for (let head = 0; head < rows; head += headDim) {
    for (let j = 0; j < half; j++) {
      for (const [from, to] of [
        [head + j, head + 2 * j],
        [head + half + j, head + 2 * j + 1],
      ] as const) {
        out.set(values.subarray(from * cols, (from + 1) * cols), to * cols);
      }
    }
  }
  return out;
}

function uninterleave(values: Float32Array, rows: number, headDim: number): Float32Array {
  const cols = values.length / rows;
  const order = interleave(
    Float32Array.from({ length: rows }, (_, i) => i),
    rows,
    headDim,
  );
  const out = new Float32Array(values.length);
  for (const [to, row] of order.entries()) {
    out.set(values.subarray(to * cols, (to + 1) * cols), row * cols);
  }
  return out;
}

/** Halves by cutting an f32's fraction: enough for random weights within ±2. */
function toHalves(values: Float32Array): { data: Uint8Array; values: Float32Array } {
  const bits = new Uint32Array(values.slice().buffer);
  const halves = new Uint16Array(bits.length);
  for (const [i, word] of bits.entries()) {
    const exponent = ((word >>> 23) & 255) - 112;
    const magnitude = exponent < 1 ? 0 : (exponent << 10) | ((word >>> 13) & 0x3ff);
    halves[i] = ((word >>> 16) & 0x8000) | magnitude;
    bits[i] = exponent < 1 ? word & 0x8000_0000 : word & 0xffff_e000;
  }
  return { data: new Uint8Array(halves.buffer), values: new Float32Array(bits.buffer) };
}

/** The upper halves of f32s. */
function toBf16(values: Float32Array): { data: Uint8Array; values: Float32Array } {
  const bits = new Uint32Array(values.slice().buffer);
  const halves = Uint16Array.from(bits, (word) => word >>> 16);
  const cut = bits.map((word) => word & 0xffff_0000);
  return { data: new Uint8Array(halves.buffer), values: new Float32Array(cut.buffer) };
}

/**
 * @param typeOf by transformers' names, of matrices; everything else is F32
 */
export function makeGgufModel(
  typeOf: (name: string) => GgufTypeName,
  {
    config = GGUF_CONFIG,
    architecture = "llama",
    metadata = {},
    version,
  }: {
    config?: ModelConfig;
    architecture?: string;
    metadata?: Record<string, GgufValue>;
    version?: number;
  } = {},
): GgufModel {
  const tensors = new Map<string, GoldenTensor>();
  const written: GgufTensorSpec[] = [];
  const isPermuted = PERMUTED.includes(architecture);
  let seed = 1;
  for (const [name, { shape, values }] of randomTensors(config)) {
    const permuted = isPermuted && /\.[qk]_proj\./.test(name);
    const rows = shape[0]!;
    const isMore = architecture === "gemma3" && name.endsWith("norm.weight");
    const put = (to: Float32Array): Float32Array =>
      permuted ? interleave(to, rows, config.headDim) : isMore ? to.map((value) => value + 1) : to;
    const type = shape.length === 2 ? typeOf(name) : "F32";
    const spec = { name: ggufName(name, architecture), shape };
    if (type === "F32") {
      written.push({ ...spec, type: 0, data: bytesOf(put(values)) });
      tensors.set(name, { shape, values });
    } else if (type === "F16" || type === "BF16") {
      const { data, values: rounded } = (type === "F16" ? toHalves : toBf16)(put(values));
      written.push({ ...spec, type: type === "F16" ? 1 : 30, data });
      const inOrder = permuted ? uninterleave(rounded, rows, config.headDim) : rounded;
      tensors.set(name, { shape, values: inOrder });
    } else {
      const block = BLOCK_TYPES[type]!;
      const count = values.length / block.values;
      // codes and their scales reach up to some thousands
      const data = randomBlocks(block, count, seed++, 2 ** (block.values === 256 ? -10 : -7));
      written.push({ ...spec, type: block.id, data });
      const own = blockValues(block, data);
      const inOrder = permuted ? uninterleave(own, rows, config.headDim) : own;
      tensors.set(name, { shape, values: inOrder });
    }
  }
  const spec: GgufSpec = {
    ...(version === undefined ? {} : { version }),
    metadata: { ...modelMetadata(config, architecture), ...metadata },
    tensors: written,
  };
  return { spec, file: makeGguf(spec), tensors, config };
}

export function modelMetadata(
  config: ModelConfig,
  architecture = "llama",
): Record<string, GgufValue> {
  const own = (key: string): string => `${architecture}.${key}`;
  return {
    "general.architecture": ["string", architecture],
    [own("block_count")]: ["u32", config.layers],
    [own("context_length")]: ["u32", config.maxPositions],
    [own("embedding_length")]: ["u32", config.hiddenSize],
    [own("feed_forward_length")]: ["u32", config.intermediateSize],
    [own("attention.head_count")]: ["u32", config.heads],
    [own("attention.head_count_kv")]: ["u32", config.kvHeads],
    [own("attention.key_length")]: ["u32", config.headDim],
    [own("attention.value_length")]: ["u32", config.headDim],
    [own("attention.layer_norm_rms_epsilon")]: ["f32", config.rmsNormEps],
    [own("rope.freq_base")]: ["f32", config.ropeTheta],
    ...(config.sliding && { [own("attention.sliding_window")]: ["u32", config.sliding.window] }),
    "tokenizer.ggml.bos_token_id": ["u32", 1],
    "tokenizer.ggml.eos_token_id": ["u32", 2],
  };
}

/** The same model as a folder in transformers' layout, in f32. */
export function hubFolder({ tensors, config }: GgufModel): Record<string, Uint8Array> {
  const json = {
    model_type: config.modelType,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    max_position_embeddings: config.maxPositions,
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    tie_word_embeddings: config.tieWordEmbeddings,
    attention_bias: config.attentionOutputBias,
    mlp_bias: config.mlpBias,
    bos_token_id: 1,
    eos_token_id: 2,
    ...(config.sliding && {
      hidden_activation: "gelu_pytorch_tanh",
      query_pre_attn_scalar: config.headDim / config.queryScale ** 2,
      rope_local_base_freq: config.sliding.ropeTheta,
      sliding_window: config.sliding.window,
      layer_types: Array.from({ length: config.layers }, (_, layer) =>
        config.sliding!.layers.includes(layer) ? "sliding_attention" : "full_attention",
      ),
    }),
  };
  return {
    "config.json": new TextEncoder().encode(JSON.stringify(json)),
    "model.safetensors": safetensorsOf(tensors),
  };
}

export function safetensorsOf(tensors: ReadonlyMap<string, GoldenTensor>): Uint8Array {
  let offset = 0;
  const header: Record<string, unknown> = {};
  for (const [name, { shape, values }] of tensors) {
    const end = offset + values.byteLength;
    header[name] = { dtype: "F32", shape, data_offsets: [offset, end] };
    offset = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const file = new Uint8Array(8 + json.length + offset);
  new DataView(file.buffer).setUint32(0, json.length, true);
  file.set(json, 8);
  let at = 8 + json.length;
  for (const { values } of tensors.values()) {
    file.set(bytesOf(values), at);
    at += values.byteLength;
  }
  return file;
}

/** A LoRA adapter of every linear layer (but lm_head), as PEFT's folder and as GGUF. */
export interface AdapterSpec {
  readonly rank?: number;
  readonly alpha?: number;
  readonly architecture?: string;
  /** What the GGUF file says; default alpha. */
  readonly ggufAlpha?: number;
  readonly rankOf?: (path: string) => number;
}

export function makeAdapters(
  config: ModelConfig,
  { rank = 4, alpha = 6, architecture = "llama", ggufAlpha = alpha, rankOf }: AdapterSpec = {},
): { peft: Record<string, Uint8Array>; gguf: Uint8Array } {
  const tensors = new Map<string, GoldenTensor>();
  const written: GgufTensorSpec[] = [];
  let seed = 1000;
  const ranks: Record<string, number> = {};
  const linears = listLinears(config).filter(({ layer }) => layer >= 0);
  for (const { path, name, rows, cols } of linears) {
    const r = rankOf?.(path) ?? rank;
    if (r !== rank) ranks[path] = r;
    const a = randomTensorOf(r, cols, seed++);
    const b = randomTensorOf(rows, r, seed++);
    tensors.set(`base_model.model.${path}.lora_A.weight`, a);
    tensors.set(`base_model.model.${path}.lora_B.weight`, b);
    const gguf = ggufName(`${path}.weight`);
    const permuted = PERMUTED.includes(architecture) && /^[qk]_proj$/.test(name);
    const bValues = permuted ? interleave(b.values, rows, config.headDim) : b.values;
    written.push({ name: `${gguf}.lora_a`, type: 0, shape: a.shape, data: bytesOf(a.values) });
    written.push({ name: `${gguf}.lora_b`, type: 0, shape: b.shape, data: bytesOf(bValues) });
  }
  const peftConfig = {
    peft_type: "LORA",
    r: rank,
    lora_alpha: alpha,
    rank_pattern: ranks,
    target_modules: [...new Set(linears.map(({ name }) => name))],
  };
  return {
    peft: {
      "adapter_config.json": new TextEncoder().encode(JSON.stringify(peftConfig)),
      "adapter_model.safetensors": safetensorsOf(tensors),
    },
    gguf: makeGguf({
      metadata: {
        "general.architecture": ["string", architecture],
        "general.type": ["string", "adapter"],
        "adapter.type": ["string", "lora"],
        "adapter.lora.alpha": ["f32", ggufAlpha],
      },
      tensors: written,
    }),
  };
}

function randomTensorOf(rows: number, cols: number, seed: number): GoldenTensor {
  return { shape: [rows, cols], values: randomValues(rows * cols, seed, 0.5 / Math.sqrt(cols)) };
}
