// Checks of tokenizer.json and tokenizer_config.json before any library builds tables of them: types, ids, sizes, and that
// every merge makes a token.
import * as v from "valibot";
import { TureenError } from "../errors.ts";
import { adaptPreTokenizer } from "./pre-tokenizer.ts";

// Ids become array indices, so an absurd one would allocate. Gemma, the largest in use, has 262 144 tokens.
const MAX_TOKEN_ID = 4_194_303;

/** What counts of tokenizer_config.json. */
export interface TokenizerConfig {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly padToken: string | undefined;
  readonly unkToken: string | undefined;
  /** transformers' LlamaTokenizer or CodeLlamaTokenizer, fast or not. */
  readonly isLlama: boolean;
  readonly addBosToken: boolean;
  readonly addEosToken: boolean;
  /** Added tokens that tokenizer.json may lack, as its `added_tokens` would have them. */
  readonly addedTokens: readonly AddedToken[];
}

/** An entry of tokenizer.json's `added_tokens`. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** tokenizer.json, its parts present or null. */
export interface TokenizerJson {
  readonly model: object;
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: object | null;
  readonly pre_tokenizer: object | null;
  readonly post_processor: object | null;
  readonly decoder: object | null;
}

function makeSchemas() {
  const tokenId = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(MAX_TOKEN_ID));
  const flag = v.nullish(v.boolean(), false);
  // `normalized` stays as it is: its default depends on `special`.
  const addedFields = {
    content: v.pipe(v.string(), v.nonEmpty()),
    special: flag,
    lstrip: flag,
    rstrip: flag,
  };
  const nameOrToken = v.nullish(v.union([v.string(), v.looseObject({ content: v.string() })]));
  const part = v.nullish(v.looseObject({ type: v.string() }), null);
  const addedToken = v.looseObject({ id: tokenId, ...addedFields });
  return {
    tokenId,
    addedToken,
    config: v.looseObject({
      tokenizer_class: v.nullish(v.string(), ""),
      bos_token: nameOrToken,
      eos_token: nameOrToken,
      pad_token: nameOrToken,
      unk_token: nameOrToken,
      add_bos_token: v.nullish(v.boolean(), true),
      add_eos_token: v.nullish(v.boolean(), false),
      added_tokens_decoder: v.nullish(v.record(v.string(), v.looseObject(addedFields)), {}),
    }),
    tokenizer: v.looseObject({
      model: v.looseObject({ type: v.nullish(v.string()) }),
      added_tokens: v.nullish(v.array(addedToken), []),
      normalizer: part,
      pre_tokenizer: part,
      post_processor: part,
      decoder: part,
    }),
  };
}
const schemas = makeSchemas();

/** @throws TureenError `TOKENIZER_INVALID` */
export function parseTokenizerConfig(json: unknown, where: string): TokenizerConfig {
  const raw = validate(schemas.config, json, `tokenizer_config.json beside ${where}`);
  return {
    bosToken: contentOf(raw.bos_token),
    eosToken: contentOf(raw.eos_token),
    padToken: contentOf(raw.pad_token),
    unkToken: contentOf(raw.unk_token),
    isLlama: /^(Code)?LlamaTokenizer(Fast)?$/.test(raw.tokenizer_class),
    addBosToken: raw.add_bos_token,
    addEosToken: raw.add_eos_token,
    addedTokens: Object.entries(raw.added_tokens_decoder).map(([id, token]) =>
      validate(
        schemas.addedToken,
        { id: Number(id), ...token },
        `added_tokens_decoder beside ${where}`,
      ),
    ),
  };
}

/**
 * Checks tokenizer.json and completes it: absent parts become null, added tokens known only to tokenizer_config.json are
 * appended, as transformers does, and the pre-tokenizer is put in a form that the library splits as Rust does.
 * @throws TureenError `TOKENIZER_INVALID`, or `FORMAT_UNSUPPORTED` for models other than BPE and Unigram
 */
export function checkTokenizer(
  json: unknown,
  config: TokenizerConfig,
  where: string,
): { json: TokenizerJson; vocabSize: number; added: ReadonlyMap<number, AddedToken> } {
  const raw = validate(schemas.tokenizer, json, where);
  const added = new Map<number, AddedToken>(raw.added_tokens.map((token) => [token.id, token]));
  for (const token of config.addedTokens) if (!added.has(token.id)) added.set(token.id, token);

  // Files of before 2020 name no model type; those of Llama-family models are BPE.
  const type = raw.model.type ?? (raw.model.merges === undefined ? "without a type" : "BPE");
  let maxId = -1;
  if (type === "BPE") maxId = checkBpe(raw.model.vocab, raw.model.merges, where);
  else if (type === "Unigram")
    maxId = checkUnigram(raw.model.vocab, raw.model.byte_fallback, where);
  else {
    throw new TureenError("FORMAT_UNSUPPORTED", `the tokenizer model ${type} is not supported`, {
      expected: "BPE or Unigram",
      found: type,
      where,
    });
  }
  for (const id of added.keys()) maxId = Math.max(maxId, id);
  const complete = {
    ...raw,
    model: { ...raw.model, type },
    added_tokens: [...added.values()],
    pre_tokenizer: adaptPreTokenizer(raw.pre_tokenizer, where),
  };
  return { json: complete, vocabSize: maxId + 1, added };
}

function checkBpe(vocab: unknown, merges: unknown, where: string): number {
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab)) {
    throw invalid("model.vocab is missing or invalid", "an object of token to id", vocab, where);
  }
  let maxId = -1;
  const tokens = new Set<string>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!v.is(schemas.tokenId, id)) {
      const what = `the id of token ${JSON.stringify(token)} is invalid`;
      throw invalid(what, `a whole number in 0..${MAX_TOKEN_ID}`, id, where);
    }
    tokens.add(token);
    maxId = Math.max(maxId, id);
  }
  if (!Array.isArray(merges)) {
    throw invalid("model.merges is missing or invalid", "a list", merges, where);
  }
  for (const [i, merge] of merges.entries()) {
    const [left, right, ...rest] = splitMerge(merge);
    const isPair = typeof left === "string" && typeof right === "string" && rest.length === 0;
    if (!isPair || typeof merge !== typeof merges[0]) {
      throw invalid(`merge ${i} is invalid`, "two tokens", JSON.stringify(merge), where);
    }
    const missing = [left, right, left + right].find((token) => !tokens.has(token));
    if (missing !== undefined) {
      const found = `no ${JSON.stringify(missing)}`;
      throw invalid(`merge ${i} is of a token that the vocabulary lacks`, "tokens", found, where);
    }
  }
  return maxId;
}

/** `"a b"` in old files, `["a", "b"]` in new ones. */
function splitMerge(merge: unknown): unknown[] {
  if (typeof merge === "string") return merge.split(" ");
  return Array.isArray(merge) ? merge : [];
}

function checkUnigram(vocab: unknown, byteFallback: unknown, where: string): number {
  if (byteFallback === true) {
    // The library would give unknown tokens instead of bytes.
    throw new TureenError("FORMAT_UNSUPPORTED", "Unigram with byte fallback is not supported", {
      expected: "BPE, or Unigram without byte_fallback",
      where,
    });
  }
  const isPiece = (x: unknown): boolean =>
    Array.isArray(x) && typeof x[0] === "string" && Number.isFinite(x[1]);
  if (!Array.isArray(vocab) || vocab.length === 0 || vocab.length > MAX_TOKEN_ID) {
    throw invalid("model.vocab is missing or invalid", "a list of pieces", vocab, where);
  }
  const wrong = vocab.findIndex((piece) => !isPiece(piece));
  if (wrong >= 0) {
    const found = JSON.stringify(vocab[wrong]);
    throw invalid(`model.vocab[${wrong}] is invalid`, "[piece, score]", found, where);
  }
  return vocab.length - 1;
}

function validate<S extends v.GenericSchema>(
  schema: S,
  json: unknown,
  where: string,
): v.InferOutput<S> {
  const result = v.safeParse(schema, json);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const field = v.getDotPath(issue) ?? "the file";
  throw invalid(`${field} is missing or invalid`, issue.expected ?? "valid", issue.received, where);
}

function invalid(what: string, expected: string, found: unknown, where: string): TureenError {
  const printed = typeof found === "object" && found !== null ? "an object" : String(found);
  return new TureenError("TOKENIZER_INVALID", what, {
    expected,
    found: printed.length > 80 ? `${printed.slice(0, 80)}…` : printed,
    where,
  });
}

function contentOf(token: string | { content: string } | null | undefined): string | undefined {
  return typeof token === "object" ? token?.content : token;
}
