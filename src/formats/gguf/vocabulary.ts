// A GGUF file's vocabulary: tokens, their kinds, and which of them begin and end texts.
import { TureenError } from "../../errors.ts";
import type { Metadata } from "./metadata.ts";

/** As tokenizer.json's limit: ids become array indices. Gemma, the largest in use, has 262 144. */
const MAX_TOKENS = 4_194_304;

/** `tokenizer.ggml.token_type` */
export const Kind = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

export interface Vocabulary {
  /** By id. */
  readonly tokens: readonly string[];
  /** By id, of `Kind`. */
  readonly kinds: readonly number[];
}

/**
 * @throws TureenError `TOKENIZER_INVALID` if lists disagree, `FORMAT_INVALID`
 * @returns `undefined` if the file has none
 */
export function readVocabulary(metadata: Metadata, file: string): Vocabulary | undefined {
  const tokens = metadata.texts("tokenizer.ggml.tokens", MAX_TOKENS);
  if (tokens === undefined) return undefined;
  const kinds =
    metadata.numbers("tokenizer.ggml.token_type", MAX_TOKENS) ?? tokens.map(() => Kind.normal);
  checkLength("token_type", kinds, tokens, file);
  return { tokens, kinds };
}

/** @throws TureenError `TOKENIZER_INVALID` */
export function checkLength(
  name: string,
  list: readonly unknown[],
  tokens: readonly string[],
  file: string,
): void {
  if (list.length === tokens.length) return;
  throw new TureenError("TOKENIZER_INVALID", `tokenizer.ggml.${name} is of another vocabulary`, {
    expected: `${tokens.length} items, one for each token`,
    found: String(list.length),
    where: file,
  });
}

/** SentencePiece's, where a file does not say. */
const SENTENCE_PIECE: Readonly<Record<string, number>> = { bos: 1, eos: 2, unknown: 0 };

/** The token with a part in texts: `bos`, `eos`, `eot`, `eom`, `unknown`, `padding`. */
export function findSpecialId(metadata: Metadata, name: string): number | undefined {
  const isSentencePiece = metadata.text("tokenizer.ggml.model") === "llama";
  const preset = isSentencePiece ? SENTENCE_PIECE[name] : undefined;
  return metadata.number(`tokenizer.ggml.${name}_token_id`) ?? preset;
}

/** How tokens that end an answer are written, in all models that llama.cpp knows by their words. */
const END_WORDS: ReadonlySet<string> = new Set([
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<end_of_turn>",
  "<｜end▁of▁sentence｜>",
  "<EOT>",
  "_<EOT>",
]);

/**
 * Tokens at which generation ends: those that the file names, and control tokens known for it, as in llama.cpp, since files
 * name one where a model's generation_config.json has several.
 */
export function findEndTokens(metadata: Metadata): number[] {
  const named = ["eos", "eot", "eom"].flatMap((name) => findSpecialId(metadata, name) ?? []);
  const tokens = metadata.texts("tokenizer.ggml.tokens", MAX_TOKENS) ?? [];
  const kinds = metadata.numbers("tokenizer.ggml.token_type", MAX_TOKENS) ?? [];
  const known = tokens.flatMap((token, id) =>
    kinds[id] === Kind.control && END_WORDS.has(token) ? [id] : [],
  );
  return [...new Set([...named, ...known])];
}
