// Writes the same weights twice: as Hugging Face and PEFT lay them out, for Tureen, and as GGUF, for llama.cpp.

import { createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { writeSafetensors } from "../../dist/formats/safetensors-writer.js";
import { writeGguf } from "./gguf-writer.mjs";
import { RANDOM_BLOCKS, randomBlocks } from "./random-blocks.mjs";
import {
  ADAPTERS,
  CONFIG,
  GGUF_CONFIG,
  listAdapterTensors,
  listLinears,
  listModelTensors,
} from "./shape.mjs";

/**
 * @param {string} directory receives `model/`, `first/`, `second/` and, for each weight type, `model-TYPE.gguf`, and
 * `first.gguf`, `second.gguf`
 * @param {{ config?: typeof CONFIG, types?: readonly ("F32" | "F16" | "Q4_0" | "Q8_0")[], dtype?: "F32" | "BF16" }} options
 * dtype: of the model in safetensors; BF16 cuts the values' last 16 bits off
 */
export async function writeFiles(
  directory,
  { config = CONFIG, types = ["F32", "Q8_0"], dtype = "F32" } = {},
) {
  const model = listModelTensors(config);
  await writeHuggingFace(join(directory, "model"), "model", "config.json", config, model, dtype);
  for (const type of types) {
    await writeGguf(
      join(directory, `model-${type}.gguf`),
      modelMetadata(type, config),
      model.map((tensor) => ggufTensor(tensor, tensor.shape.length > 1 ? type : "F32")),
    );
  }
  for (const adapter of ADAPTERS) {
    const tensors = listAdapterTensors(adapter, config);
    const peft = {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      r: adapter.rank,
      lora_alpha: adapter.alpha,
      target_modules: [...new Set(listLinears(config).map(({ path }) => path.split(".").at(-1)))],
    };
    const folder = join(directory, adapter.name);
    await writeHuggingFace(folder, "adapter_model", "adapter_config.json", peft, tensors, "F32");
    await writeGguf(
      join(directory, `${adapter.name}.gguf`),
      adapterMetadata(adapter, config),
      tensors.map((tensor) => ggufTensor(tensor, "F32")),
    );
  }
}

/**
 * A model in GGUF alone, some of its matrices as random blocks, which both engines read from the same file.
 * @param {string} path
 * @param {(name: string) => string} typeOf type of a matrix, by its name in llama.cpp: `F32`, `Q4_0`, `Q8_0`, or one of `RANDOM_BLOCKS`
 */
export async function writeTypes(path, typeOf) {
  const tensors = listModelTensors(GGUF_CONFIG).map((tensor) => {
    const { gguf, shape, std } = tensor;
    const type = shape.length > 1 ? typeOf(gguf) : "F32";
    if (RANDOM_BLOCKS[type] === undefined) return ggufTensor(tensor, type);
    const data = () => randomBlocks(type, gguf, shape[0] * shape[1], std);
    return { name: gguf, shape, type, data };
  });
  await writeGguf(path, modelMetadata(undefined, GGUF_CONFIG), tensors);
}

async function writeHuggingFace(directory, weights, configName, config, tensors, dtype) {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, configName), JSON.stringify(config));
  const pieces = writeSafetensors(
    tensors.map(({ name, shape, values }) => ({
      name,
      dtype,
      shape,
      data: () => new Uint8Array((dtype === "BF16" ? cutToBf16(values()) : values()).buffer),
    })),
    { format: "pt" },
  );
  await pipeline(pieces, createWriteStream(join(directory, `${weights}.safetensors`)));
}

function cutToBf16(values) {
  const halves = new Uint16Array(values.buffer); // little-endian: the upper half comes second
  const cut = new Uint16Array(values.length);
  for (let i = 0; i < cut.length; i++) cut[i] = halves[2 * i + 1];
  return cut;
}

function ggufTensor({ gguf, shape, rotatedHeads, more = 0, values }, type) {
  const own = () => (more > 0 ? values().map((value) => value + more) : values());
  const inOrder = () =>
    rotatedHeads > 0 ? interleaveHalves(own(), shape[0] / rotatedHeads, shape[1]) : own();
  return { name: gguf, shape, type, values: inOrder };
}

/**
 * Hugging Face turns row j of a head together with row j + half; llama.cpp's Llama turns neighbours. So rows go from
 * (0, 1, 2, …, half, half + 1, …) to (0, half, 1, half + 1, …) within every head, as llama.cpp's converter does it.
 */
function interleaveHalves(values, headRows, cols) {
  const out = new Float32Array(values.length);
  const half = headRows / 2;
  for (let row = 0; row < values.length / cols; row++) {
    const j = row % headRows;
    const to = row - j + (j < half ? 2 * j : 2 * (j - half) + 1);
    out.set(values.subarray(row * cols, (row + 1) * cols), to * cols);
  }
  return out;
}

/** As llama.cpp calls it. */
function architectureOf({ model_type: type }) {
  return type === "gemma3_text" ? "gemma3" : type;
}

function modelMetadata(type, config) {
  const FILE_TYPES = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 7 };
  const { head_dim: own, rope_scaling: scaling, sliding_window: window } = config;
  const architecture = architectureOf(config);
  const headDim = own ?? config.hidden_size / config.num_attention_heads;
  return {
    "general.architecture": ["string", architecture],
    "general.name": ["string", "random weights"],
    ...(type === undefined ? {} : { "general.file_type": ["uint32", FILE_TYPES[type]] }),
    [`${architecture}.block_count`]: ["uint32", config.num_hidden_layers],
    [`${architecture}.context_length`]: ["uint32", config.max_position_embeddings],
    [`${architecture}.embedding_length`]: ["uint32", config.hidden_size],
    [`${architecture}.feed_forward_length`]: ["uint32", config.intermediate_size],
    [`${architecture}.attention.head_count`]: ["uint32", config.num_attention_heads],
    [`${architecture}.attention.head_count_kv`]: ["uint32", config.num_key_value_heads],
    [`${architecture}.attention.key_length`]: ["uint32", headDim],
    [`${architecture}.attention.value_length`]: ["uint32", headDim],
    [`${architecture}.attention.layer_norm_rms_epsilon`]: ["float32", config.rms_norm_eps],
    [`${architecture}.rope.dimension_count`]: ["uint32", headDim],
    [`${architecture}.rope.freq_base`]: ["float32", config.rope_theta],
    [`${architecture}.vocab_size`]: ["uint32", config.vocab_size],
    ...(window && { [`${architecture}.attention.sliding_window`]: ["uint32", window] }),
    ...(scaling && {
      [`${architecture}.rope.scaling.type`]: ["string", scaling.rope_type],
      [`${architecture}.rope.scaling.factor`]: ["float32", scaling.factor],
    }),
    ...dummyTokenizer(config),
  };
}

/** llama.cpp loads no model without a vocabulary; ids are all that is used of it. */
function dummyTokenizer(config) {
  const NORMAL = 1;
  const UNKNOWN = 2;
  const CONTROL = 3;
  const BYTE = 6;
  const tokens = ["<unk>", "<s>", "</s>"];
  const types = [UNKNOWN, CONTROL, CONTROL];
  for (let byte = 0; byte < 256; byte++) {
    tokens.push(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
    types.push(BYTE);
  }
  while (tokens.length < config.vocab_size) {
    tokens.push(`t${tokens.length}`);
    types.push(NORMAL);
  }
  return {
    "tokenizer.ggml.model": ["string", "llama"],
    "tokenizer.ggml.tokens": ["array", "string", tokens],
    "tokenizer.ggml.scores": ["array", "float32", tokens.map(() => 0)],
    "tokenizer.ggml.token_type": ["array", "int32", types],
    "tokenizer.ggml.bos_token_id": ["uint32", config.bos_token_id],
    "tokenizer.ggml.eos_token_id": ["uint32", config.eos_token_id],
  };
}

function adapterMetadata({ name, alpha }, config) {
  return {
    "general.architecture": ["string", architectureOf(config)],
    "general.type": ["string", "adapter"],
    "general.name": ["string", name],
    "adapter.type": ["string", "lora"],
    "adapter.lora.alpha": ["float32", alpha],
  };
}
