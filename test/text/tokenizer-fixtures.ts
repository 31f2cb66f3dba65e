// Tokenizers of the tests: real files, and Qwen2's tokenizer.json made from its vocab.json and merges.txt.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";
import { sharedData } from "../support/shared.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

export function readJsonFile<T = Record<string, unknown>>(path: string): T {
  return JSON.parse(readFileSync(path, "utf8")) as T;
}

export const kitchenModel: string = join(repository, "demo/kitchen/base");
export const kitchenGoldens: string = join(repository, "test/golden/kitchen");

/** The tokenizer of a model folder. */
export function loadFolder(folder: string): Tokenizer {
  return loadTokenizer(
    readJsonFile(join(folder, "tokenizer.json")),
    readJsonFile(join(folder, "tokenizer_config.json")),
    "tokenizer.json",
  );
}

/** tokenizer.json as transformers' Qwen2Converter writes it (convert_slow_tokenizer.py). */
export function makeQwen2Json(): Record<string, unknown> {
  const folder = sharedData("tokenizers/qwen2");
  const merges = readFileSync(join(folder, "merges.txt"), "utf8").split(/\r?\n/);
  const specials = readJsonFile<Record<string, number>>(join(folder, "added_tokens.json"));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: Object.entries(specials)
      .sort((a, b) => a[1] - b[1])
      .map(([content, id]) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
    normalizer: { type: "NFC" },
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        {
          type: "Split",
          pattern: {
            Regex:
              "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
          },
          behavior: "Isolated",
          invert: false,
        },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
      ],
    },
    post_processor: {
      type: "ByteLevel",
      add_prefix_space: false,
      trim_offsets: false,
      use_regex: false,
    },
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: readJsonFile(join(folder, "vocab.json")),
      merges: merges.filter((line) => line !== "" && !line.startsWith("#version")),
    },
  };
}

export function loadQwen2(): Tokenizer {
  const config = readJsonFile(sharedData("tokenizers/qwen2/tokenizer_config.json"));
  return loadTokenizer(makeQwen2Json(), config, "tokenizer.json");
}

/** llama.cpp's cases: texts, and the ids of each. */
export function readLlamaCppCases(path: string): { text: string; ids: number[] }[] {
  const texts = readFileSync(`${path}.inp`, "utf8").split("\n__ggml_vocab_test__\n");
  const ids = readFileSync(`${path}.out`, "utf8").split("\n");
  // The last text ends with the separator, or with the file's end.
  return texts
    .map((text, i) => ({ text, ids: (ids[i] ?? "").split(" ").filter(Boolean).map(Number) }))
    .filter((_, i) => i < ids.length - 1);
}
