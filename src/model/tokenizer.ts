// Text to token ids and back. A thin shell around @huggingface/tokenizers, which does the encoding: it checks the files, knows
// the special tokens, and adds what the library lacks (decoding as tokens arrive, transformers' rules for Llama's <s>).
import { Tokenizer as Encoder } from "@huggingface/tokenizers";
import { TureenError } from "../errors.ts";
import {
  createStreamDecoder,
  type DecoderRules,
  parseDecoderRules,
  type StreamDecoder,
  TokenBytes,
} from "./token-decoder.ts";
import { checkTokenizer, parseTokenizerConfig, type TokenizerConfig } from "./tokenizer-files.ts";

export type { StreamDecoder } from "./token-decoder.ts";

/** How text becomes token ids. */
export interface EncodeOptions {
  /** Add what the tokenizer puts around a text, such as <s>. Default true. Use false for rendered chats: templates write it themselves. */
  readonly addSpecialTokens?: boolean | undefined;
}

/** How token ids become text. */
export interface DecodeOptions {
  /** Leave out special tokens. Default false. */
  readonly skipSpecialTokens?: boolean | undefined;
}

/** Text to token ids and back, as the model's own tokenizer.json says. */
export interface Tokenizer {
  /** 1 + the highest token id. A model may have more logits than this. */
  readonly vocabSize: number;
  readonly bosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosToken: string | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  readonly unkTokenId: number | undefined;
  /** Ids of all special tokens. */
  readonly specialIds: ReadonlySet<number>;
  /** @throws TureenError `TOKENIZER_INVALID` if a part of the text has no token */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * Exactly what the tokens say; `clean_up_tokenization_spaces` is not applied. Ids without a token are left out.
   * @throws TureenError `TOKEN_OUT_OF_RANGE` for what is no id
   */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /** The pieces it returns add up to `decode` of all ids. */
  createDecoder(options?: DecodeOptions): StreamDecoder;
  tokenId(token: string): number | undefined;
  token(id: number): string | undefined;
}

/**
 * Makes a tokenizer of parsed tokenizer.json and tokenizer_config.json (`undefined` if there is none).
 * @param where for messages: where tokenizer.json lies
 * @throws TureenError `TOKENIZER_INVALID` if tokenizer.json is broken; `FORMAT_UNSUPPORTED` for a part that is not implemented
 */
export function loadTokenizer(
  tokenizerJson: unknown,
  tokenizerConfig: unknown,
  where: string,
): Tokenizer {
  const config = parseTokenizerConfig(tokenizerConfig ?? {}, where);
  const { json, vocabSize, added } = checkTokenizer(tokenizerJson, config, where);
  const rules = parseDecoderRules(json.decoder, where);
  let encoder: Encoder;
  try {
    // The rest of tokenizer_config.json concerns slow tokenizers; transformers' fast ones ignore it too.
    encoder = new Encoder(json, { clean_up_tokenization_spaces: false });
  } catch (error) {
    throw new TureenError(
      "TOKENIZER_INVALID",
      `the tokenizer cannot be built: ${error instanceof Error ? error.message : String(error)}`,
      { where },
      { cause: error },
    );
  }
  return new HubTokenizer(encoder, rules, config, vocabSize, added, where);
}

class HubTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  readonly unkTokenId: number | undefined;
  readonly specialIds: ReadonlySet<number>;
  readonly #encoder: Encoder;
  readonly #rules: DecoderRules;
  readonly #bytes: TokenBytes;
  readonly #where: string;
  /** What stands around a text, where transformers overrides tokenizer.json; otherwise undefined. */
  readonly #around: { readonly before: number[]; readonly after: number[] } | undefined;

  constructor(
    encoder: Encoder,
    rules: DecoderRules,
    config: TokenizerConfig,
    vocabSize: number,
    added: ReadonlyMap<number, { readonly special: boolean }>,
    where: string,
  ) {
    this.#encoder = encoder;
    this.#rules = rules;
    this.#where = where;
    this.#bytes = new TokenBytes(rules, (id) => encoder.id_to_token(id), new Set(added.keys()));
    this.vocabSize = vocabSize;
    this.bosToken = config.bosToken;
    this.eosToken = config.eosToken;
    this.bosTokenId = this.#find(config.bosToken);
    this.eosTokenId = this.#find(config.eosToken);
    this.padTokenId = this.#find(config.padToken);
    this.unkTokenId = this.#find(config.unkToken);
    const special = [...added].filter(([, token]) => token.special).map(([id]) => id);
    for (const id of [this.bosTokenId, this.eosTokenId, this.padTokenId, this.unkTokenId]) {
      if (id !== undefined) special.push(id);
    }
    this.specialIds = new Set(special);
    // transformers' Llama tokenizers write their post-processor anew from add_bos_token (default true) and add_eos_token.
    if (config.isLlama) {
      const before = config.addBosToken && this.bosTokenId !== undefined ? [this.bosTokenId] : [];
      const after = config.addEosToken && this.eosTokenId !== undefined ? [this.eosTokenId] : [];
      this.#around = { before, after };
    }
  }

  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    const around = addSpecialTokens ? this.#around : undefined;
    const add_special_tokens = addSpecialTokens && around === undefined;
    const ids: (number | undefined)[] = this.#encoder.encode(text, { add_special_tokens }).ids;
    const all = around === undefined ? ids : [...around.before, ...ids, ...around.after];
    if (all.includes(undefined)) {
      throw new TureenError("TOKENIZER_INVALID", "a part of the text has no token", {
        expected: "a vocabulary that covers all bytes, or an unknown token",
        where: this.#where,
      });
    }
    return all as number[];
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const decoder = this.createDecoder(options);
    let text = "";
    for (const id of ids) text += decoder.push(id);
    return text + decoder.flush();
  }

  createDecoder({ skipSpecialTokens = false }: DecodeOptions = {}): StreamDecoder {
    return createStreamDecoder(this.#bytes, this.#rules, (id) => {
      if (!Number.isSafeInteger(id) || id < 0) {
        throw new TureenError("TOKEN_OUT_OF_RANGE", "a token id is invalid", {
          expected: "a whole number of 0 or more",
          found: String(id),
        });
      }
      return skipSpecialTokens && this.specialIds.has(id);
    });
  }

  tokenId(token: string): number | undefined {
    return this.#find(token);
  }

  token(id: number): string | undefined {
    return this.#encoder.id_to_token(id);
  }

  #find(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.#encoder.token_to_id(token);
  }
}
