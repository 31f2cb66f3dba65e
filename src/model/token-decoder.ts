// Token ids to text. Reads the `decoder` part of tokenizer.json and turns every token into bytes once, so that decoding at
// once and decoding as tokens arrive are the same code and give the same text.
//
// Byte runs that are not valid UTF-8 become U+FFFD as the WHATWG standard says; Rust's ByteFallback instead replaces every
// byte of a run that is invalid anywhere, which cannot be known while streaming.
import { TureenError } from "../errors.ts";

/** Turns tokens into text as they arrive. One per sequence. */
export interface StreamDecoder {
  /** Returns the text that is now certain: never half a character, so it may be empty. */
  push(id: number): string;
  /** Returns what is left: U+FFFD for an unfinished character. The decoder then begins anew. */
  flush(): string;
}

/** What a tokenizer.json says of decoding, for the vocabularies of Llama-family models. */
export interface DecoderRules {
  /** Characters stand for bytes, as in GPT-2. */
  readonly byteLevel: boolean;
  /** `<0x0A>` stands for a byte, as in SentencePiece. */
  readonly byteFallback: boolean;
  /** Replacements in each token, in order. */
  readonly replacements: readonly (readonly [from: string, to: string])[];
  /** Removed from the beginning of the text, at most `stripCount` times. */
  readonly strip: string;
  readonly stripCount: number;
}

/**
 * Reads the `decoder` of tokenizer.json: ByteLevel, Metaspace, or a Sequence of these with Replace, ByteFallback, Fuse and Strip.
 * @throws TureenError `FORMAT_UNSUPPORTED` naming any other decoder; `TOKENIZER_INVALID` for what is none
 */
export function parseDecoderRules(json: unknown, where: string): DecoderRules {
  const rules = {
    byteLevel: false,
    byteFallback: false,
    replacements: [] as [string, string][],
    strip: "",
    stripCount: 0,
  };
  let fused = false;
  const read = (node: unknown): void => {
    const part = (node ?? {}) as Record<string, unknown>;
    switch (part.type) {
      case "Sequence":
        if (!Array.isArray(part.decoders))
          throw invalid("a list of decoders", part.decoders, where);
        for (const child of part.decoders) read(child);
        return;
      case "ByteLevel":
        rules.byteLevel = true;
        return;
      case "ByteFallback":
        rules.byteFallback = true;
        return;
      case "Fuse":
        fused = true;
        return;
      case "Replace": {
        const from = (part.pattern as { String?: unknown } | undefined)?.String;
        if (typeof from !== "string" || from === "" || typeof part.content !== "string") {
          throw unsupported("a Replace decoder without a plain text pattern", where);
        }
        if (fused && from.length > 1) throw unsupported("a Replace across tokens", where);
        rules.replacements.push([from, part.content]);
        return;
      }
      case "Strip":
        if (
          typeof part.content !== "string" ||
          !Number.isInteger(part.start) ||
          part.stop !== 0 ||
          !fused
        ) {
          throw unsupported("a Strip decoder of more than the text's beginning", where);
        }
        rules.strip = part.content;
        rules.stripCount = part.start as number;
        return;
      case "Metaspace": {
        const mark = typeof part.replacement === "string" ? part.replacement : "▁";
        rules.replacements.push([mark, " "]);
        const prefix =
          part.prepend_scheme ?? (part.add_prefix_space === false ? "never" : "always");
        if (prefix !== "never") {
          rules.strip = " ";
          rules.stripCount = 1;
        }
        return;
      }
      default:
        throw unsupported(`the decoder ${JSON.stringify(part.type ?? null)}`, where);
    }
  };
  read(json);
  if (rules.byteLevel && rules.replacements.length > 0) {
    throw unsupported("ByteLevel together with Replace or Metaspace", where);
  }
  return rules;
}

/** The bytes of every token. Made on demand, kept. */
export class TokenBytes {
  readonly #rules: DecoderRules;
  readonly #tokenOf: (id: number) => string | undefined;
  readonly #added: ReadonlySet<number>;
  readonly #bytes: Map<number, Uint8Array> = new Map();

  /**
   * @param tokenOf the vocabulary
   * @param added ids of added tokens: their text is literal
   */
  constructor(
    rules: DecoderRules,
    tokenOf: (id: number) => string | undefined,
    added: ReadonlySet<number>,
  ) {
    this.#rules = rules;
    this.#tokenOf = tokenOf;
    this.#added = added;
  }

  /** Empty for ids that name no token: models have rows for padding. */
  get(id: number): Uint8Array {
    const known = this.#bytes.get(id);
    if (known !== undefined) return known;
    const token = this.#tokenOf(id);
    const bytes = token === undefined ? new Uint8Array(0) : this.#convert(token, id);
    this.#bytes.set(id, bytes);
    return bytes;
  }

  #convert(token: string, id: number): Uint8Array {
    const { byteLevel, byteFallback, replacements } = this.#rules;
    if (byteFallback) {
      const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
      if (hex !== null) return Uint8Array.of(Number.parseInt(hex[1]!, 16));
    }
    if (byteLevel && !this.#added.has(id)) {
      const bytes = Array.from(token, (char) => BYTE_OF_CHAR.get(char));
      if (bytes.every((byte) => byte !== undefined)) return Uint8Array.from(bytes);
    }
    let text = token;
    for (const [from, to] of replacements) text = text.replaceAll(from, to);
    return new TextEncoder().encode(text);
  }
}

/** @param isSkipped tokens that leave no trace in the text */
export function createStreamDecoder(
  bytes: TokenBytes,
  rules: DecoderRules,
  isSkipped: (id: number) => boolean,
): StreamDecoder {
  // `ignoreBOM` keeps a byte order mark: it is text that the model wrote.
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  let toStrip = rules.stripCount;
  const strip = (text: string): string => {
    let rest = text;
    while (toStrip > 0 && rest !== "") {
      if (!rest.startsWith(rules.strip)) toStrip = 0;
      else {
        rest = rest.slice(rules.strip.length);
        toStrip--;
      }
    }
    return rest;
  };
  return {
    push: (id) => (isSkipped(id) ? "" : strip(utf8.decode(bytes.get(id), { stream: true }))),
    flush: () => {
      const rest = strip(utf8.decode());
      toStrip = rules.stripCount;
      return rest;
    },
  };
}

/** GPT-2's `bytes_to_unicode`, inverted: printable Latin-1 characters are themselves, other bytes follow from U+0100 on. */
const BYTE_OF_CHAR: ReadonlyMap<string, number> = makeByteTable();

function makeByteTable(): Map<string, number> {
  const table = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    table.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return table;
}

function invalid(expected: string, found: unknown, where: string): TureenError {
  return new TureenError("TOKENIZER_INVALID", "the tokenizer's decoder is broken", {
    expected,
    found: String(found),
    where,
  });
}

function unsupported(found: string, where: string): TureenError {
  return new TureenError("FORMAT_UNSUPPORTED", "the tokenizer's decoder is not supported", {
    expected: "ByteLevel, Metaspace, or Replace, ByteFallback, Fuse and Strip",
    found,
    where,
  });
}
