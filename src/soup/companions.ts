// What a model folder holds besides weights: config, tokenizer, templates. They go with a model that is written anew.
import { readJson } from "../sources/open.ts";
import { type FileSink, once } from "../sources/sink.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import type { WrittenDType } from "./peft-writer.ts";

/** Copied as they are, if they are there. */
const COMPANIONS = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
];

/** Read and written at once. */
const PIECE_BYTES = 4 * 1024 * 1024;

const TORCH_NAMES = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/**
 * Copies them. If the weights change their type, `config.json` says so.
 * @throws TureenError `SOURCE_WRITE_FAILED`, and whatever the source throws
 */
export async function copyCompanions(
  files: FileSet,
  sink: FileSink,
  options: ReadOptions & { readonly dtype?: WrittenDType | undefined } = {},
): Promise<void> {
  for (const path of COMPANIONS) {
    if (path === "config.json" && options.dtype !== undefined) {
      await writeConfig(files, sink, options.dtype, options);
    } else {
      await copyFile(files, path, sink, options);
    }
  }
}

async function writeConfig(
  files: FileSet,
  sink: FileSink,
  dtype: WrittenDType,
  options: ReadOptions,
): Promise<void> {
  const config = (await readJson(files, "config.json", options)) as Record<string, unknown>;
  const name = "dtype" in config ? "dtype" : "torch_dtype"; // transformers 5, and before
  const text = `${JSON.stringify({ ...config, [name]: TORCH_NAMES[dtype] }, null, 2)}\n`;
  await sink.write("config.json", once(new TextEncoder().encode(text)));
}

async function copyFile(
  files: FileSet,
  path: string,
  sink: FileSink,
  options: ReadOptions,
): Promise<void> {
  const source = await files.open(path, options);
  if (source === undefined) return;
  try {
    await sink.write(path, readPieces());
  } finally {
    await source.close();
  }
  async function* readPieces(): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < source!.size; offset += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, source!.size - offset);
      yield await source!.read(offset, length, options);
    }
  }
}
