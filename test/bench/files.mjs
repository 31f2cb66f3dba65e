// The models that all engines get: random weights of a known shape, written once into build/ (which git ignores), as safetensors
// for Tureen and as GGUF for the others.
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CONFIG } from "../oracle/shape.mjs";
import { writeFiles } from "../oracle/write-files.mjs";

const BUILD = fileURLToPath(new URL("build", import.meta.url));

/** config.json by name of the shape. Both have tied embeddings. */
export const SHAPES = {
  "smollm2-135m": { ...CONFIG, torch_dtype: "bfloat16" },
  "llama-3.2-1b": {
    ...CONFIG,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    vocab_size: 128256,
    max_position_embeddings: 131072,
    rope_theta: 500000,
    torch_dtype: "bfloat16",
  },
};

/** How the peers name Tureen's weight types. */
export const GGUF_TYPES = { f32: "F32", f16: "F16", q8: "Q8_0", q4: "Q4_0" };

/**
 * @param {keyof typeof SHAPES} shape
 * @param {readonly (keyof typeof GGUF_TYPES)[]} types
 * @param {(text: string) => void} note told before anything is written
 * @returns {Promise<string>} the folder of `model/`, `first/`, `second/`, `first.gguf`, `second.gguf` and `model-TYPE.gguf`
 */
export async function prepareFiles(shape, types, note) {
  const folder = join(BUILD, shape);
  const gguf = types.map((type) => GGUF_TYPES[type]);
  const missing = gguf.filter((type) => !existsSync(join(folder, `model-${type}.gguf`)));
  if (missing.length === 0 && existsSync(join(folder, "model"))) return folder;
  note(`writing random weights of ${shape}: ${missing.join(", ")}`);
  const unfinished = join(BUILD, `${shape}.unfinished`);
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  await writeFiles(unfinished, { config: SHAPES[shape], types: missing, dtype: "BF16" });
  await mkdir(folder, { recursive: true });
  for (const type of missing) await move(unfinished, folder, `model-${type}.gguf`);
  for (const name of ["first.gguf", "second.gguf", "first", "second", "model"]) {
    await move(unfinished, folder, name);
  }
  await rm(unfinished, { recursive: true });
  return folder;
}

async function move(from, to, name) {
  await rm(join(to, name), { recursive: true, force: true });
  await rename(join(from, name), join(to, name));
}
