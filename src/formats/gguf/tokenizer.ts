// A GGUF file's tokenizer as tokenizer.json and tokenizer_config.json would say it: byte-level BPE (`gpt2`), or SentencePiece BPE
// (`llama`), whose scores become merges as in transformers' converter.
import { TureenError } from "../../errors.ts";
import type { Metadata } from "./metadata.ts";
import { findPreTokenizer } from "./pre-tokenizers.ts";
import { checkLength, findSpecialId, Kind, readVocabulary, type Vocabulary } from "./vocabulary.ts";

/** Gemma has 580 604. */
const MAX_MERGES = 16_777_216;
const SPACE = "▁";

export interface TokenizerFiles {
  /** `undefined` if the file has no vocabulary. */
  readonly tokenizer: object | undefined;
  readonly config: object;
}

/** @throws TureenError `FORMAT_UNSUPPORTED` for other tokenizers, `TOKENIZER_INVALID`, `FORMAT_INVALID` */
export function toTokenizerFiles(metadata: Metadata, file: string): TokenizerFiles {
  const model = metadata.text("tokenizer.ggml.model");
  const vocabulary = readVocabulary(metadata, file);
  const template = metadata.text("tokenizer.chat_template");
  const chat = template === undefined ? {} : { chat_template: template };
  if (model === undefined || model === "none" || model === "no_vocab" || vocabulary === undefined) {
    return { tokenizer: undefined, config: chat };
  }
  if (model !== "gpt2" && model !== "llama") {
    throw new TureenError("FORMAT_UNSUPPORTED", "the tokenizer is not supported", {
      expected: "gpt2 (byte-level BPE) or llama (SentencePiece BPE)",
      found: model,
      where: `tokenizer.ggml.model in ${file}`,
    });
  }
  const parts =
    model === "gpt2"
      ? toByteLevel(metadata, vocabulary, file)
      : toSentencePiece(metadata, vocabulary, file);
  const around = findAround(metadata, vocabulary, parts.addBos);
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: listAdded(vocabulary),
      normalizer: parts.normalizer,
      pre_tokenizer: parts.preTokenizer,
      post_processor: toTemplate(around),
      decoder: parts.decoder,
      model: parts.model,
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      ...nameTokens(metadata, vocabulary, parts.unknown),
      clean_up_tokenization_spaces: false,
      ...chat,
    },
  };
}

interface Parts {
  readonly model: object;
  readonly normalizer: object | null;
  readonly preTokenizer: object | null;
  readonly decoder: object;
  /** Where the file does not say. */
  readonly addBos: boolean;
  /** Id of the token for what has none. */
  readonly unknown: number | undefined;
}

function toByteLevel(metadata: Metadata, vocabulary: Vocabulary, file: string): Parts {
  const pre = findPreTokenizer(metadata.text("tokenizer.ggml.pre") ?? "default", file);
  const model = {
    type: "BPE",
    unk_token: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: pre.ignoreMerges,
    vocab: toIds(vocabulary, (kind) => kind !== Kind.control && kind !== Kind.userDefined),
    merges: metadata.texts("tokenizer.ggml.merges", MAX_MERGES) ?? [],
  };
  return {
    model,
    normalizer: pre.normalizer,
    preTokenizer: pre.split,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    addBos: pre.addBos,
    unknown: findSpecialId(metadata, "unknown"),
  };
}

function toSentencePiece(metadata: Metadata, vocabulary: Vocabulary, file: string): Parts {
  const { tokens } = vocabulary;
  const scores = metadata.numbers("tokenizer.ggml.scores", tokens.length) ?? [];
  checkLength("scores", scores, tokens, file);
  const hasPrefix = metadata.flag("tokenizer.ggml.add_space_prefix") ?? true;
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const unknown = findSpecialId(metadata, "unknown")!;
  return {
    model: {
      type: "BPE",
      unk_token: tokens[unknown] ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: toIds(vocabulary, () => true),
      merges: toMerges(vocabulary, scores),
    },
    normalizer: {
      type: "Sequence",
      normalizers: [...(hasPrefix ? [{ type: "Prepend", prepend: SPACE }] : []), replace],
    },
    preTokenizer: null,
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: SPACE }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...(hasPrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
      ],
    },
    addBos: true,
    unknown,
  };
}

function toIds(
  { tokens, kinds }: Vocabulary,
  isMember: (kind: number) => boolean,
): Record<string, number> {
  // of two tokens of one spelling the first one is meant, as in llama.cpp
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    if (isMember(kinds[id]!) && !ids.has(token)) ids.set(token, id);
  }
  return Object.fromEntries(ids);
}

/**
 * Every way to put a token together from two others, the token with the highest score first. (transformers, `generate_merges` in
 * convert_slow_tokenizer.py)
 */
function toMerges({ tokens, kinds }: Vocabulary, scores: readonly number[]): [string, string][] {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) if (!ids.has(token)) ids.set(token, id);
  const merges: { left: string; right: string; score: number }[] = [];
  for (const [id, token] of tokens.entries()) {
    if (kinds[id] !== Kind.normal) continue;
    const score = scores[id]!;
    const splits: { left: string; right: string; score: number }[] = [];
    for (let i = 1; i < token.length; i++) {
      const [left, right] = [token.slice(0, i), token.slice(i)];
      if (ids.has(left) && ids.has(right)) splits.push({ left, right, score });
    }
    const idOf = (text: string): number => ids.get(text)!;
    splits.sort((a, b) => idOf(a.left) - idOf(b.left) || idOf(a.right) - idOf(b.right));
    merges.push(...splits);
  }
  merges.sort(
    (a, b) => b.score - a.score || b.left.length - a.left.length || b.right.length - a.right.length,
  );
  return merges.map(({ left, right }) => [left, right]);
}

function listAdded({ tokens, kinds }: Vocabulary): object[] {
  return tokens.flatMap((content, id) => {
    const kind = kinds[id];
    const special = kind === Kind.control || kind === Kind.unknown;
    if ((!special && kind !== Kind.userDefined) || content === "") return [];
    const rest = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return [{ id, content, ...rest, special }];
  });
}

interface Around {
  readonly before: readonly TokenWithId[];
  readonly after: readonly TokenWithId[];
}

interface TokenWithId {
  readonly id: number;
  readonly token: string;
}

/** What stands before and behind a text. */
function findAround(metadata: Metadata, { tokens }: Vocabulary, addBos: boolean): Around {
  const find = (name: string, isAdded: boolean): TokenWithId[] => {
    const id = findSpecialId(metadata, name);
    const added = metadata.flag(`tokenizer.ggml.add_${name}_token`) ?? isAdded;
    const token = id === undefined ? undefined : tokens[id];
    return added && token !== undefined ? [{ id: id!, token }] : [];
  };
  return { before: find("bos", addBos), after: find("eos", false) };
}

function toTemplate({ before, after }: Around): object | null {
  if (before.length + after.length === 0) return null;
  const mark = ({ token }: TokenWithId): object => ({ SpecialToken: { id: token, type_id: 0 } });
  const text = (id: string, type_id: number): object => ({ Sequence: { id, type_id } });
  const single = [...before.map(mark), text("A", 0), ...after.map(mark)];
  return {
    type: "TemplateProcessing",
    single,
    pair: [...single, text("B", 1)],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ id, token }) => [
        token,
        { id: token, ids: [id], tokens: [token] },
      ]),
    ),
  };
}

function nameTokens(
  metadata: Metadata,
  { tokens }: Vocabulary,
  unknown: number | undefined,
): Record<string, string> {
  const ids: Readonly<Record<string, number | undefined>> = {
    bos_token: findSpecialId(metadata, "bos"),
    eos_token: findSpecialId(metadata, "eos"),
    unk_token: unknown,
    pad_token: findSpecialId(metadata, "padding"),
  };
  const named = Object.entries(ids).flatMap(([name, id]) => {
    const token = id === undefined ? undefined : tokens[id];
    return token ? [[name, token] as const] : [];
  });
  return Object.fromEntries(named);
}
