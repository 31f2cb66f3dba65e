// How llama.cpp's kinds of byte-level BPE (`tokenizer.ggml.pre`) split text before it is encoded, and what else hangs on them. Patterns
// are those of the models' own tokenizer.json.
import { TureenError } from "../../errors.ts";

export interface PreTokenizer {
  /** tokenizer.json's `pre_tokenizer`. */
  readonly split: object;
  readonly normalizer: object | null;
  /** A text that is a token is that token, whatever the merges say. */
  readonly ignoreMerges: boolean;
  /** Whether a text begins with the beginning-of-text token, where the file does not say. */
  readonly addBos: boolean;
}

const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const REST = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const WORD = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const UPPER = "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}";
const LOWER = "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}";
const START = "[^\\r\\n\\p{L}\\p{N}]?";

const LLAMA3 = `${CONTRACTIONS}|${WORD}|\\p{N}{1,3}|${REST}`;
const QWEN2 = `${CONTRACTIONS}|${WORD}|\\p{N}|${REST}`;
const TEKKEN =
  `${START}[${UPPER}]*[${LOWER}]+|${START}[${UPPER}]+[${LOWER}]*|\\p{N}|` +
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/** Of files from before there were kinds. */
const DEFAULT = [
  "[\\p{P}\\$\\+<=>\\^~\\|]+",
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
  "\\p{N}+",
  "[0-9][0-9][0-9]",
];

const plain = { normalizer: null, ignoreMerges: false, addBos: false };
const gpt2: PreTokenizer = { ...plain, split: bytes(true) };
const digits: PreTokenizer = {
  ...plain,
  split: sequence({ type: "Digits", individual_digits: true }, bytes(true)),
};
const llama3: PreTokenizer = {
  ...plain,
  split: sequence(split(LLAMA3), bytes(false)),
  ignoreMerges: true,
  addBos: true,
};
const qwen2: PreTokenizer = {
  ...plain,
  split: sequence(split(QWEN2), bytes(false)),
  normalizer: { type: "NFC" },
};
const tekken: PreTokenizer = {
  ...plain,
  split: sequence(split(TEKKEN), bytes(false)),
  ignoreMerges: true,
  addBos: true,
};

const KINDS: ReadonlyMap<string, PreTokenizer> = new Map([
  ["default", { ...plain, split: sequence(...DEFAULT.map(split), bytes(false)) }],
  ...name(gpt2, "gpt-2", "phi-2", "olmo", "mpt", "jais", "exaone4", "jina-es", "jina-de"),
  ...name(digits, "smollm", "starcoder", "refact", "command-r", "codeshell"),
  ...name(llama3, "llama3", "llama-v3", "llama-bpe", "falcon3", "dbrx", "smaug-bpe"),
  ...name(qwen2, "qwen2", "deepseek-r1-qwen", "megrez"),
  ...name(tekken, "tekken"),
]);

/** @throws TureenError `FORMAT_UNSUPPORTED` for kinds that are not known: another split would give wrong tokens without a word */
export function findPreTokenizer(kind: string, file: string): PreTokenizer {
  const found = KINDS.get(kind);
  if (found !== undefined) return found;
  throw new TureenError("FORMAT_UNSUPPORTED", "the tokenizer's pre-tokenizer is not supported", {
    expected: [...KINDS.keys()].join(", "),
    found: kind,
    where: `tokenizer.ggml.pre in ${file}`,
  });
}

function name(of: PreTokenizer, ...names: string[]): [string, PreTokenizer][] {
  return names.map((one) => [one, of]);
}

function sequence(...pretokenizers: object[]): object {
  return { type: "Sequence", pretokenizers };
}

function split(pattern: string): object {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

function bytes(useRegex: boolean): object {
  return { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: useRegex };
}
