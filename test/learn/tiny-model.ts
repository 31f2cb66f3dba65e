// A random model of a few thousand weights with the kitchen's tokenizer, and adapters that overlap only in part: for learning in
// milliseconds.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadModel } from "../../src/api/load-model.ts";
import type { Model } from "../../src/api/model.ts";
import { writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { listLinears, parseModelConfig } from "../../src/model/config.ts";
import { randomValues } from "../support/values.ts";

const kitchen = fileURLToPath(new URL("../../demo/kitchen", import.meta.url));

const configJson = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  vocab_size: 768,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: 2,
};
const config = parseModelConfig(configJson, undefined, "tiny");

export const CHAT_TEMPLATE: string =
  "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}" +
  "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}[assistant]{% endif %}";

type Tensors = Record<string, { shape: number[]; values: Float32Array }>;

async function safetensors(tensors: Tensors): Promise<Uint8Array> {
  const list = Object.entries(tensors).map(([name, { shape, values }]) => ({
    name,
    dtype: "F32" as const,
    shape,
    data: () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
  }));
  const pieces: Uint8Array[] = [];
  for await (const piece of writeSafetensors(list, {})) pieces.push(piece.slice());
  return Buffer.concat(pieces);
}

function json(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

export async function tinyModelFiles(): Promise<Record<string, Uint8Array>> {
  const { hiddenSize, layers } = config;
  const tensors: Tensors = {};
  let seed = 1;
  const add = (name: string, shape: number[], scale: number, center = 0): void => {
    const n = shape.reduce((a, b) => a * b, 1);
    const values = randomValues(n, seed++, scale).map((value) => value + center);
    tensors[name] = { shape, values };
  };
  add("model.embed_tokens.weight", [config.vocabSize, hiddenSize], 1);
  add("model.norm.weight", [hiddenSize], 0.2, 1);
  for (let layer = 0; layer < layers; layer++) {
    add(`model.layers.${layer}.input_layernorm.weight`, [hiddenSize], 0.2, 1);
    add(`model.layers.${layer}.post_attention_layernorm.weight`, [hiddenSize], 0.2, 1);
  }
  for (const { path, name, rows, cols } of listLinears(config)) {
    if (name !== "lm_head") add(`${path}.weight`, [rows, cols], 0.4);
  }
  return {
    "config.json": json(configJson),
    "model.safetensors": await safetensors(tensors),
    "tokenizer.json": readFileSync(`${kitchen}/base/tokenizer.json`),
    "tokenizer_config.json": json({
      ...JSON.parse(readFileSync(`${kitchen}/base/tokenizer_config.json`, "utf8")),
      chat_template: CHAT_TEMPLATE,
    }),
  };
}

export async function tinyAdapterFiles(
  targets: readonly string[],
  seed: number,
  {
    alpha = 8,
    scale = 0.3,
    logit,
  }: {
    alpha?: number;
    scale?: number;
    /** Of each module, as LoRA Soups' released code saves it: name behind the module, and values. */
    logit?: (path: string) => { name: string; values: number[] } | undefined;
  } = {},
): Promise<Record<string, Uint8Array>> {
  const rank = 2;
  const tensors: Tensors = {};
  for (const { path, name, rows, cols } of listLinears(config)) {
    if (!targets.includes(name)) continue;
    const prefix = `base_model.model.${path}`;
    const [a, b] = [
      randomValues(rank * cols, seed++, scale),
      randomValues(rows * rank, seed++, scale),
    ];
    tensors[`${prefix}.lora_A.weight`] = { shape: [rank, cols], values: a };
    tensors[`${prefix}.lora_B.weight`] = { shape: [rows, rank], values: b };
    const own = logit?.(path);
    if (own === undefined) continue;
    const values = Float32Array.from(own.values);
    tensors[`${prefix}.${own.name}`] = { shape: [values.length], values };
  }
  return {
    "adapter_config.json": json({
      peft_type: "LORA",
      r: rank,
      lora_alpha: alpha,
      target_modules: targets,
      bias: "none",
    }),
    "adapter_model.safetensors": await safetensors(tensors),
  };
}

/** With adapters `a` (q, v, down), `b` (q, v) and `c` (gate, up). */
export async function loadTinyModel(backend: "reference" | "wasm" = "reference"): Promise<Model> {
  const model = await loadModel(await tinyModelFiles(), { backend });
  await model.loadAdapter(await tinyAdapterFiles(["q_proj", "v_proj", "down_proj"], 100), {
    name: "a",
  });
  await model.loadAdapter(await tinyAdapterFiles(["q_proj", "v_proj"], 200), { name: "b" });
  await model.loadAdapter(await tinyAdapterFiles(["gate_proj", "up_proj"], 300), { name: "c" });
  return model;
}

/** JSONL of short examples. */
export function tinyData(count: number): string {
  const words = ["tin", "red", "coal", "rope", "green", "bell", "fish", "gas"];
  return Array.from({ length: count }, (_, i) => {
    const word = (k: number): string => words[(i * (k + 3) + k) % words.length]!;
    return JSON.stringify(
      i % 3 === 0
        ? { text: `A ${word(0)} ${word(1)}.` }
        : { prompt: `Q: ${word(0)}?`, [i % 3 === 1 ? "completion" : "answer"]: ` ${word(1)}.` },
    );
  }).join("\n");
}
