// Where @huggingface/tokenizers 0.2 splits text otherwise than Rust's tokenizers: says the same in parts on which both agree,
// and refuses what has no such form. A wrong split would give wrong tokens without a word.
import { TureenError } from "../errors.ts";

// GPT-2's pattern. As a Split, the library reads its \s as Unicode White_Space, as Rust does; its own ByteLevel reads it as
// JavaScript does, which has U+FEFF and lacks U+0085.
const BYTE_LEVEL_PATTERN =
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

interface Part {
  readonly type?: unknown;
  readonly [key: string]: unknown;
}

/**
 * Rewrites the `pre_tokenizer` of tokenizer.json for the library.
 * @throws TureenError `FORMAT_UNSUPPORTED` for a split that the library does otherwise
 */
export function adaptPreTokenizer(part: object | null, where: string): object | null {
  const node = part as Part | null;
  switch (node?.type) {
    case "Sequence": {
      const children = Array.isArray(node.pretokenizers) ? node.pretokenizers : [];
      return { ...node, pretokenizers: children.map((child) => adaptPreTokenizer(child, where)) };
    }
    case "Digits": // the library knows ASCII digits only
      return isolate(node.individual_digits === true ? "\\p{N}" : "\\p{N}+");
    case "ByteLevel": {
      if (node.use_regex === false || node.add_prefix_space === true) return node;
      const bytes = { ...node, use_regex: false };
      return { type: "Sequence", pretokenizers: [isolate(BYTE_LEVEL_PATTERN), bytes] };
    }
    case "Split": {
      const inverted = node.invert === true;
      if (node.behavior === "Removed" || (node.behavior === "Isolated" && !inverted)) return node;
      const found = `${String(node.behavior)}${inverted ? ", inverted" : ""}`;
      throw unsupported("Split", "Isolated or Removed", found, where);
    }
    case "Punctuation":
      if (node.behavior === "Contiguous") return node;
      throw unsupported("Punctuation", "Contiguous", String(node.behavior ?? "Isolated"), where);
    default:
      return node;
  }
}

function isolate(pattern: string): object {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

function unsupported(part: string, expected: string, found: string, where: string): TureenError {
  const what = `a behavior of the pre-tokenizer ${part} is not supported`;
  return new TureenError("FORMAT_UNSUPPORTED", what, { expected, found, where });
}
