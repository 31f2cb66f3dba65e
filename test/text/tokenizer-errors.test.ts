import { describe, expect, it } from "vitest";
import { TureenError } from "../../src/errors.ts";
import { loadTokenizer } from "../../src/model/tokenizer.ts";

const model = { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] };
const good = {
  added_tokens: [{ id: 3, content: "</s>", special: true }],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: { type: "ByteLevel" },
  model,
};
const withModel = (changes: object): object => ({ ...good, model: { ...model, ...changes } });
const withDecoder = (decoder: unknown): object => ({ ...good, decoder });

describe("loadTokenizer", () => {
  it("takes old and new merges, absent parts and no tokenizer_config.json", () => {
    const {
      normalizer: _,
      post_processor: __,
      ...rest
    } = withModel({ merges: [["a", "b"]] }) as typeof good;
    for (const json of [good, rest]) {
      const tokenizer = loadTokenizer(json, undefined, "tokenizer.json");
      expect(tokenizer.encode("ab</s>")).toEqual([2, 3]);
      expect(tokenizer.vocabSize).toBe(4);
      expect(tokenizer.eosTokenId).toBeUndefined();
    }
  });

  it("adds tokens that only tokenizer_config.json knows, as transformers does", () => {
    const config = { added_tokens_decoder: { "7": { content: "<|end|>", special: true } } };
    const tokenizer = loadTokenizer(good, config, "tokenizer.json");
    expect(tokenizer.encode("a<|end|>")).toEqual([0, 7]);
    expect(tokenizer.decode([0, 7], { skipSpecialTokens: true })).toBe("a");
    expect(tokenizer.vocabSize).toBe(8);
  });

  it("drops what has no token and no unknown token, as Rust's BPE does", () => {
    expect(loadTokenizer(good, undefined, "tokenizer.json").encode("axb")).toEqual([0, 1]);
  });

  it("decodes Metaspace, with the first space stripped unless none is prepended", () => {
    const vocab = { "▁a": 0, "▁": 1 };
    const load = (prepend_scheme: string) =>
      loadTokenizer(
        {
          ...withModel({ vocab, merges: [] }),
          decoder: { type: "Metaspace", replacement: "▁", prepend_scheme, split: false },
        },
        undefined,
        "tokenizer.json",
      );
    expect(load("first").decode([0, 0, 1])).toBe("a a ");
    expect(load("first").decode([1, 1])).toBe(" ");
    expect(load("never").decode([0, 0])).toBe(" a a");
  });

  it("never reads a vocabulary's __proto__ as a prototype", () => {
    const vocab = JSON.parse('{"__proto__": 0, "a": 1}');
    const tokenizer = loadTokenizer(withModel({ vocab, merges: [] }), undefined, "tokenizer.json");
    expect(tokenizer.token(0)).toBe("__proto__");
  });
});

describe("loadTokenizer refuses", () => {
  const cases: [name: string, json: unknown, config: unknown, code: string, text: RegExp][] = [
    ["null", null, {}, "TOKENIZER_INVALID", /tokenizer\.json/],
    ["a list", [], {}, "TOKENIZER_INVALID", /model/],
    ["no model", { ...good, model: undefined }, {}, "TOKENIZER_INVALID", /model is missing/],
    ["no vocabulary", withModel({ vocab: undefined }), {}, "TOKENIZER_INVALID", /model\.vocab/],
    [
      "a vocabulary of text",
      withModel({ vocab: { a: "0" } }),
      {},
      "TOKENIZER_INVALID",
      /id of token "a" is invalid: expected a whole number in 0\.\.4194303, found 0/,
    ],
    [
      "an id that would allocate gigabytes",
      withModel({ vocab: { a: 2 ** 31 }, merges: [] }),
      {},
      "TOKENIZER_INVALID",
      /found 2147483648/,
    ],
    [
      "an added token of such an id",
      { ...good, added_tokens: [{ id: 2 ** 31, content: "x" }] },
      {},
      "TOKENIZER_INVALID",
      /added_tokens\.0\.id/,
    ],
    [
      "such an id in tokenizer_config.json",
      good,
      { added_tokens_decoder: { "99999999": { content: "x" } } },
      "TOKENIZER_INVALID",
      /added_tokens_decoder/,
    ],
    [
      "an empty added token",
      { ...good, added_tokens: [{ id: 3, content: "" }] },
      {},
      "TOKENIZER_INVALID",
      /content/,
    ],
    ["no merges", withModel({ merges: undefined }), {}, "TOKENIZER_INVALID", /model\.merges/],
    [
      "a merge of three",
      withModel({ merges: ["a b c"] }),
      {},
      "TOKENIZER_INVALID",
      /merge 0 is invalid/,
    ],
    [
      "a merge of numbers",
      withModel({ merges: [[1, 2]] }),
      {},
      "TOKENIZER_INVALID",
      /merge 0 is invalid/,
    ],
    [
      "a merge of null",
      withModel({ merges: [null] }),
      {},
      "TOKENIZER_INVALID",
      /merge 0 is invalid/,
    ],
    [
      "a merge into nothing",
      withModel({ merges: ["b a"] }),
      {},
      "TOKENIZER_INVALID",
      /merge 0 is of a token that the vocabulary lacks: expected tokens, found no "ba"/,
    ],
    [
      "WordPiece",
      withModel({ type: "WordPiece" }),
      {},
      "FORMAT_UNSUPPORTED",
      /WordPiece.*expected BPE or Unigram/,
    ],
    [
      "a broken piece",
      withModel({ type: "Unigram", vocab: [["a", 0], ["b"]] }),
      {},
      "TOKENIZER_INVALID",
      /model\.vocab\[1\] is invalid/,
    ],
    [
      "an unknown pre-tokenizer",
      { ...good, pre_tokenizer: { type: "Mystery" } },
      {},
      "TOKENIZER_INVALID",
      /cannot be built: Unknown PreTokenizer type: Mystery/,
    ],
    [
      "a broken regular expression",
      { ...good, pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
      {},
      "TOKENIZER_INVALID",
      /cannot be built/,
    ],
    [
      "Unigram with byte fallback",
      withModel({ type: "Unigram", vocab: [["a", 0]], byte_fallback: true }),
      {},
      "FORMAT_UNSUPPORTED",
      /Unigram with byte fallback/,
    ],
    [
      "a split that the library does otherwise",
      {
        ...good,
        pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious" },
      },
      {},
      "FORMAT_UNSUPPORTED",
      /pre-tokenizer Split is not supported: expected Isolated or Removed, found MergedWithPrevious/,
    ],
    [
      "punctuation likewise, in a sequence",
      { ...good, pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Punctuation" }] } },
      {},
      "FORMAT_UNSUPPORTED",
      /pre-tokenizer Punctuation is not supported: expected Contiguous, found Isolated/,
    ],
    ["no decoder", withDecoder(null), {}, "FORMAT_UNSUPPORTED", /the decoder null/],
    [
      "another decoder",
      withDecoder({ type: "CTC" }),
      {},
      "FORMAT_UNSUPPORTED",
      /found the decoder "CTC"/,
    ],
    [
      "a broken sequence",
      withDecoder({ type: "Sequence" }),
      {},
      "TOKENIZER_INVALID",
      /decoder is broken/,
    ],
    [
      "a pattern in the decoder",
      withDecoder({ type: "Replace", pattern: { Regex: "a+" }, content: "" }),
      {},
      "FORMAT_UNSUPPORTED",
      /without a plain text pattern/,
    ],
    [
      "a broken configuration",
      good,
      { bos_token: 1 },
      "TOKENIZER_INVALID",
      /bos_token.*tokenizer_config\.json/,
    ],
  ];
  it.each(cases)("%s", (_, json, config, code, text) => {
    let error: unknown;
    try {
      loadTokenizer(json, config, "tokenizer.json");
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TureenError);
    expect((error as TureenError).code).toBe(code);
    expect((error as TureenError).message).toMatch(text);
    expect((error as TureenError).message).not.toContain("\n");
  });
});
