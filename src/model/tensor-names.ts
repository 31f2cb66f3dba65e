// Which tensors a Llama-family checkpoint must hold, by transformers' names, and which of them a checkpoint does hold.
import { TureenError } from "../errors.ts";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint.ts";
import { listLinears, type ModelConfig } from "./config.ts";

const PREFIX = "model.";

/** [vocabSize, hiddenSize] */
export const EMBEDDING = "model.embed_tokens.weight";

/** Tensors of old files that only repeat what the config says. */
const REDUNDANT = /\.rotary_emb\.inv_freq$/;

/** The tensor of a linear layer's weight; with tied embeddings `lm_head` has none of its own. */
export function linearTensor(path: string, { tieWordEmbeddings }: ModelConfig): string {
  return path === "lm_head" && tieWordEmbeddings ? EMBEDDING : `${path}.weight`;
}

/** The expected tensors of a config, matched against a checkpoint's. */
export class TensorNames {
  readonly #checkpoint: Checkpoint;
  /** Name → shape */
  readonly #expected: ReadonlyMap<string, readonly number[]>;

  constructor(checkpoint: Checkpoint, config: ModelConfig) {
    this.#checkpoint = checkpoint;
    this.#expected = expectedTensors(config);
  }

  /** Of all expected tensors, those of the checkpoint, in its order. */
  inFileOrder(): TensorInfo[] {
    const wanted = new Set([...this.#expected.keys()].map((name) => this.find(name)));
    return [...this.#checkpoint.tensors.values()].filter((info) => wanted.has(info));
  }

  expects(name: string): boolean {
    return this.#expected.has(name);
  }

  /** Files written from the bare decoder lack `model.`. @throws TureenError `MODEL_TENSOR_MISSING` */
  find(name: string): TensorInfo {
    const { tensors } = this.#checkpoint;
    const bare = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
    const info = tensors.get(name) ?? tensors.get(bare);
    if (info !== undefined) return info;
    throw new TureenError("MODEL_TENSOR_MISSING", `the model has no tensor ${name}`, {
      where: this.#checkpoint.name,
      hint: "The file is incomplete, or its config.json belongs to another model",
    });
  }

  /**
   * Every expected tensor is there in its shape, and the layers hold nothing that would go unused: it would change what
   * the model computes.
   * @throws TureenError `MODEL_TENSOR_MISSING`, `MODEL_TENSOR_MISMATCH`
   */
  check(): void {
    for (const [name, shape] of this.#expected) {
      const info = this.find(name);
      if (info.shape.join() === shape.join()) continue;
      throw new TureenError("MODEL_TENSOR_MISMATCH", `${name} has the wrong shape`, {
        expected: `[${shape.join(", ")}] by config.json`,
        found: `[${info.shape.join(", ")}]`,
        where: info.file,
        hint: "The weights and config.json belong to different models",
      });
    }
    for (const { name, file } of this.#checkpoint.tensors.values()) {
      const full = name.startsWith(PREFIX) ? name : PREFIX + name;
      if (!full.startsWith("model.layers.") || this.expects(full) || REDUNDANT.test(full)) continue;
      throw new TureenError("MODEL_TENSOR_MISMATCH", "a layer holds a tensor with no use here", {
        expected: "only tensors of the architecture in config.json",
        found: name,
        where: file,
        hint: "The weights and config.json belong to different models, or the weights are quantized",
      });
    }
  }
}

function expectedTensors(config: ModelConfig): Map<string, readonly number[]> {
  const { hiddenSize, vocabSize, headDim } = config;
  const expected = new Map<string, readonly number[]>();
  expected.set(EMBEDDING, [vocabSize, hiddenSize]);
  for (let layer = 0; layer < config.layers; layer++) {
    expected.set(`model.layers.${layer}.input_layernorm.weight`, [hiddenSize]);
    expected.set(`model.layers.${layer}.post_attention_layernorm.weight`, [hiddenSize]);
    if (config.outputNorms) {
      expected.set(`model.layers.${layer}.pre_feedforward_layernorm.weight`, [hiddenSize]);
      expected.set(`model.layers.${layer}.post_feedforward_layernorm.weight`, [hiddenSize]);
    }
    if (!config.qkNorm) continue;
    expected.set(`model.layers.${layer}.self_attn.q_norm.weight`, [headDim]);
    expected.set(`model.layers.${layer}.self_attn.k_norm.weight`, [headDim]);
  }
  for (const { path, name, rows, cols } of listLinears(config)) {
    if (name !== "lm_head" || !config.tieWordEmbeddings)
      expected.set(`${path}.weight`, [rows, cols]);
    if (hasBias(config, name)) expected.set(`${path}.bias`, [rows]);
  }
  expected.set("model.norm.weight", [hiddenSize]);
  return expected;
}

function hasBias(config: ModelConfig, name: string): boolean {
  if (name === "lm_head") return false;
  if (name === "o_proj") return config.attentionOutputBias;
  return /^[qkv]_proj$/.test(name) ? config.attentionBias : config.mlpBias;
}
