import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import {
  kitchenGoldens,
  kitchenModel,
  loadFolder,
  loadQwen2,
  makeQwen2Json,
  readJsonFile,
  readLlamaCppCases,
} from "./tokenizer-fixtures.ts";

interface Golden {
  readonly text: string;
  readonly ids: number[];
  readonly decoded: string;
}
interface Prompts {
  readonly prompts: string[];
  readonly ids: number[][];
}

describe("the kitchen's tokenizer (byte-level BPE)", () => {
  let tokenizer: Tokenizer;
  beforeAll(() => {
    tokenizer = loadFolder(kitchenModel);
  });

  it("gives the ids and texts of the goldens", () => {
    const cases = readJsonFile<Golden[]>(`${kitchenGoldens}/tokenizer.json`);
    expect(cases.length).toBeGreaterThan(5);
    for (const { text, ids, decoded } of cases) {
      expect(tokenizer.encode(text, { addSpecialTokens: false }), text).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  });

  it("begins prompts with <s>", () => {
    const { prompts, ids } = readJsonFile<Prompts>(`${kitchenGoldens}/prompts.json`);
    expect(prompts.map((prompt: string) => tokenizer.encode(prompt))).toEqual(ids);
  });

  it("knows its special tokens", () => {
    expect(tokenizer).toMatchObject({
      vocabSize: 768,
      bosToken: "<s>",
      bosTokenId: 1,
      eosToken: "</s>",
      eosTokenId: 2,
      padTokenId: 0,
      unkTokenId: undefined,
    });
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2]);
    expect(tokenizer.tokenId("</s>")).toBe(2);
    expect(tokenizer.token(2)).toBe("</s>");
    expect(tokenizer.tokenId("no such token")).toBeUndefined();
  });

  it("prints special tokens or leaves them out", () => {
    const ids = tokenizer.encode("Jinsil runs on");
    expect(tokenizer.decode(ids)).toBe("<s>Jinsil runs on");
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("Jinsil runs on");
  });

  it("reads special tokens in the text as tokens", () => {
    expect(tokenizer.encode("</s>", { addSpecialTokens: false })).toEqual([2]);
  });

  it("decodes any text back from its ids", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        expect(tokenizer.decode(ids)).toBe(text);
      }),
    );
  });

  it("streams what it decodes", () => checkStreaming(tokenizer));

  it("never emits half a character", () => {
    const ids = tokenizer.encode("🤖é", { addSpecialTokens: false });
    const decoder = tokenizer.createDecoder();
    const pieces = ids.map((id) => decoder.push(id));
    expect(pieces.filter((piece) => piece !== "")).toEqual(["🤖", "é"]);
    expect(decoder.flush()).toBe("");
  });

  it("ends an unfinished character with U+FFFD, and only when flushed", () => {
    const ids = tokenizer.encode("🤖", { addSpecialTokens: false }).slice(0, -1);
    const decoder = tokenizer.createDecoder();
    expect(ids.map((id) => decoder.push(id)).join("")).toBe("");
    expect(decoder.flush()).toBe("\ufffd");
    expect(tokenizer.decode(ids)).toBe("\ufffd");
  });

  it("leaves out ids beyond the vocabulary, and refuses what is no id", () => {
    expect(tokenizer.decode([768, 100_000])).toBe("");
    for (const id of [-1, 1.5, Number.NaN]) {
      expect(() => tokenizer.decode([id])).toThrow(/TOKEN_OUT_OF_RANGE|token id is invalid/);
    }
  });
});

describeWithSharedData(
  "the tokenizer of stories260K (SentencePiece BPE with byte fallback)",
  () => {
    let tokenizer: Tokenizer;
    let golden: { cases: { prompt: string; prompt_ids: number[]; ids: number[] }[] };
    beforeAll(() => {
      tokenizer = loadFolder(sharedData("stories260K/hf-f32"));
      golden = readJsonFile(sharedData("stories260K/golden-text.json"));
    });

    it("gives the golden prompts' ids", () => {
      expect(golden.cases.length).toBeGreaterThan(1);
      for (const { prompt, prompt_ids } of golden.cases) {
        expect(tokenizer.encode(prompt), JSON.stringify(prompt)).toEqual(prompt_ids);
      }
    });

    it("decodes to text that encodes to the same ids", () => {
      for (const { ids } of golden.cases) {
        const text = tokenizer.decode(ids, { skipSpecialTokens: true });
        expect(tokenizer.encode(text)).toEqual(ids);
      }
    });

    it("spells characters that it lacks in bytes, and joins them again", () => {
      const ids = tokenizer.encode("a🤖b", { addSpecialTokens: false });
      expect(ids).toHaveLength(6); // "▁a", 4 bytes, "b"
      const decoder = tokenizer.createDecoder();
      const pieces = ids.map((id) => decoder.push(id));
      expect(pieces.filter((piece) => piece !== "").slice(-2)).toEqual(["🤖", "b"]);
      expect(tokenizer.decode(ids)).toBe("a🤖b");
    });

    it("keeps a byte order mark that the model writes", () => {
      const ids = tokenizer.encode("\ufeffa", { addSpecialTokens: false });
      expect(tokenizer.decode(ids)).toBe("\ufeffa");
    });

    it("decodes any text back from its ids", () => {
      fc.assert(
        fc.property(fc.string({ unit: "grapheme" }), (text) => {
          expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
        }),
      );
    });

    it("decodes bytes that are not UTF-8 as the web does; Rust's tokenizers deviates", () => {
      // Bytes 6d 88 03 9d. Known deviation: tokenizers 0.23 gives four U+FFFD, one for each byte of a run that is invalid anywhere,
      // even for its valid characters. What has been streamed cannot be taken back, so valid ones stay here.
      const ids = [0x6d, 0x88, 0x03, 0x9d].map((byte) => byte + 3);
      expect(tokenizer.decode(ids)).toBe("m\ufffd\x03\ufffd");
    });

    it("strips the first space of the whole text only, as full decoding does", () => {
      const ids = tokenizer.encode("  two", { addSpecialTokens: false });
      const decoder = tokenizer.createDecoder({ skipSpecialTokens: true });
      const text = [1, ...ids].map((id) => decoder.push(id)).join("") + decoder.flush();
      expect(text).toBe("  two");
    });

    it("streams what it decodes", () => checkStreaming(tokenizer));
  },
);

describeWithSharedData("Qwen2's tokenizer", () => {
  let tokenizer: Tokenizer;
  beforeAll(() => {
    tokenizer = loadQwen2();
  });

  it("gives llama.cpp's ids", () => {
    const cases = readLlamaCppCases(sharedData("tokenizers/qwen2/ggml-vocab-qwen2.gguf"));
    expect(cases.length).toBeGreaterThan(40);
    for (const { text, ids } of cases) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(text.normalize("NFC"));
    }
  });

  it("reads a chat's special tokens and adds none", () => {
    const ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n");
    expect(ids).toEqual([151644, 872, 198, 13048, 151645, 198]);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("user\nHi\n");
  });

  it("streams what it decodes", () => checkStreaming(tokenizer));
});

// Ids by Rust's tokenizers 0.23 for Qwen2's vocabulary under other models' pre-tokenizers. The library alone gives others: its
// Digits are ASCII only, and the \s of its ByteLevel is JavaScript's.
describeWithSharedData("pre-tokenizers are Rust's", () => {
  const bytes = (use_regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, use_regex });
  const load = (pre_tokenizer: object): Tokenizer =>
    loadTokenizer({ ...makeQwen2Json(), normalizer: null, pre_tokenizer }, {}, "tokenizer.json");
  const digits = "in २०२४, ²³";
  const spaces = "a\u0085b  \ufeff x";
  const indic = [220, 12619, 101, 12619, 99, 12619, 101, 12619, 103];

  it("GPT-2's", () => {
    const tokenizer = load(bytes(true));
    expect(tokenizer.encode(digits)).toEqual([258, ...indic, 11, 2139, 110, 43201]);
    expect(tokenizer.encode(spaces)).toEqual([64, 126, 227, 65, 220, 75780, 856]);
  });

  it("SmolLM2's: single digits, then GPT-2's", () => {
    const single = { type: "Digits", individual_digits: true };
    const tokenizer = load({ type: "Sequence", pretokenizers: [single, bytes(true)] });
    expect(tokenizer.encode(digits)).toEqual([258, ...indic, 11, 220, 29456, 43201]);
    expect(tokenizer.encode(spaces)).toEqual([64, 126, 227, 65, 220, 75780, 856]);
    expect(tokenizer.encode("12345 it'S")).toEqual([16, 17, 18, 19, 20, 432, 6, 50]);
  });
});

describe("transformers' Llama tokenizers override the post-processor", () => {
  const json = readJsonFile(`${kitchenModel}/tokenizer.json`);
  const config = readJsonFile(`${kitchenModel}/tokenizer_config.json`);
  const load = (changes: object, changedJson: object = json): Tokenizer =>
    loadTokenizer(changedJson, { ...config, ...changes }, "tokenizer.json");
  const ends = (tokenizer: Tokenizer): (number | undefined)[] => {
    const ids = tokenizer.encode("a");
    return [ids[0], ids.at(-1)];
  };

  it.each([
    [{ tokenizer_class: "LlamaTokenizer", add_bos_token: false }, 100, 100],
    [{ tokenizer_class: "LlamaTokenizerFast", add_eos_token: true }, 1, 2],
    [{ tokenizer_class: "LlamaTokenizerFast", add_bos_token: undefined }, 1, 100],
    // Any other class: tokenizer.json decides, which here writes <s>.
    [{ tokenizer_class: "PreTrainedTokenizerFast", add_bos_token: false }, 1, 100],
  ])("%o", (changes, first, last) => {
    expect(ends(load(changes))).toEqual([first, last]);
  });

  it("where tokenizer.json has none", () => {
    const bare = { ...json, post_processor: null };
    expect(ends(load({ tokenizer_class: "LlamaTokenizer" }, bare))).toEqual([1, 100]);
    expect(ends(load({}, bare))).toEqual([100, 100]);
  });
});

/** Any ids, real text or not: the pieces of a stream add up to the full text, and none ends inside a surrogate pair. */
function checkStreaming(tokenizer: Tokenizer): void {
  const ids = fc.array(fc.nat(tokenizer.vocabSize + 3), { maxLength: 60 });
  fc.assert(
    fc.property(ids, fc.boolean(), (list, skipSpecialTokens) => {
      const decoder = tokenizer.createDecoder({ skipSpecialTokens });
      const pieces = list.map((id) => decoder.push(id));
      for (const piece of pieces) expect(piece).not.toMatch(/\p{Surrogate}/u);
      const text = pieces.join("") + decoder.flush();
      expect(text).toBe(tokenizer.decode(list, { skipSpecialTokens }));
    }),
    { numRuns: 200 },
  );
}
