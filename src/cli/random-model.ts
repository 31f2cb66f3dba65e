// Models and adapters of a given shape with random weights, in memory: for measuring speed, where weights do not matter. The
// same seed gives the same bytes on every host.
import {
  safetensorsSize,
  type TensorToWrite,
  writeSafetensors,
} from "../formats/safetensors-writer.ts";
import { Random } from "../math/random.ts";
import {
  type LinearInfo,
  listLinears,
  type ModelConfig,
  parseModelConfig,
} from "../model/config.ts";

/** File name → content. */
export type RandomFiles = Record<string, Uint8Array>;

const SMOLLM2_135M = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49152,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: "bfloat16",
};

/** config.json by shape name. `tiny` is for tests. */
export const SHAPES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "smollm2-135m": SMOLLM2_135M,
  tiny: {
    ...SMOLLM2_135M,
    hidden_size: 64,
    intermediate_size: 96,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    vocab_size: 256,
    max_position_embeddings: 512,
  },
};

/**
 * `config.json` and `model.safetensors` (BF16): norms 1, everything else uniform in ±0.05, about as large as trained weights.
 * @param shape a name of `SHAPES`
 * @param seed integer of 0 or more
 */
export async function createRandomModel(shape: string, seed: number): Promise<RandomFiles> {
  const json = SHAPES[shape];
  if (json === undefined) throw new RangeError(`no shape is named ${shape}`);
  const config = parseModelConfig(json, undefined, shape);
  const random = new Random(seed);
  const matrix = (name: string, rows: number, cols: number): TensorToWrite => ({
    name,
    dtype: "BF16",
    shape: [rows, cols],
    data: () => randomBf16(random, rows * cols),
  });
  const ones = (name: string): TensorToWrite => ({
    name,
    dtype: "BF16",
    shape: [config.hiddenSize],
    data: () => toBytes(new Uint16Array(config.hiddenSize).fill(0x3f80)),
  });
  const tensors = [matrix("model.embed_tokens.weight", config.vocabSize, config.hiddenSize)];
  for (const { path, rows, cols, layer } of listLinears(config)) {
    if (layer >= 0 || !config.tieWordEmbeddings) tensors.push(matrix(`${path}.weight`, rows, cols));
  }
  for (let layer = 0; layer < config.layers; layer++) {
    tensors.push(ones(`model.layers.${layer}.input_layernorm.weight`));
    tensors.push(ones(`model.layers.${layer}.post_attention_layernorm.weight`));
  }
  tensors.push(ones("model.norm.weight"));
  return {
    "config.json": encodeJson(json),
    "model.safetensors": await collect(tensors),
  };
}

/**
 * A PEFT adapter (BF16) on all linear layers of the decoder, not on lm_head.
 * @param seed integer of 0 or more
 */
export async function createRandomAdapter(
  config: ModelConfig,
  rank: number,
  seed: number,
): Promise<RandomFiles> {
  const random = new Random(seed);
  const linears = listLinears(config).filter(({ layer }) => layer >= 0);
  const factor = (linear: LinearInfo, part: "A" | "B", rows: number, cols: number) => ({
    name: `base_model.model.${linear.path}.lora_${part}.weight`,
    dtype: "BF16" as const,
    shape: [rows, cols],
    data: () => randomBf16(random, rows * cols),
  });
  const tensors = linears.flatMap((linear) => [
    factor(linear, "A", rank, linear.cols),
    factor(linear, "B", linear.rows, rank),
  ]);
  return {
    "adapter_config.json": encodeJson({
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      r: rank,
      lora_alpha: rank,
      target_modules: [...new Set(linears.map(({ name }) => name))],
    }),
    "adapter_model.safetensors": await collect(tensors),
  };
}

/** Uniform in ±0.05, rounded toward 0. */
function randomBf16(random: Random, count: number): Uint8Array {
  const floats = new Float32Array(1);
  const bits = new Uint32Array(floats.buffer);
  const values = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    floats[0] = (random.nextUint32() - 2147483648) * (0.05 / 2147483648);
    values[i] = bits[0]! >>> 16;
  }
  return toBytes(values);
}

function toBytes(values: Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 1)}\n`);
}

async function collect(tensors: readonly TensorToWrite[]): Promise<Uint8Array> {
  const whole = new Uint8Array(safetensorsSize(tensors, { format: "pt" }));
  let offset = 0;
  for await (const piece of writeSafetensors(tensors, { format: "pt" })) {
    whole.set(piece, offset);
    offset += piece.byteLength;
  }
  return whole;
}
