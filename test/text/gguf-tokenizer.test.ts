// Tokenizers of GGUF files against llama.cpp's own test cases, and against the same tokenizer in tokenizer.json.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { loadTextTools, type TextTools } from "../../src/api/text-tools.ts";
import { parseGgufHeader } from "../../src/formats/gguf/header.ts";
import { Metadata } from "../../src/formats/gguf/metadata.ts";
import { toTokenizerFiles } from "../../src/formats/gguf/tokenizer.ts";
import { openModelFiles } from "../../src/formats/model-files.ts";
import { loadTokenizer, type Tokenizer } from "../../src/model/tokenizer.ts";
import { openFileSet } from "../../src/sources/open.ts";
import { failureOf } from "../formats/failure.ts";
import { type GgufValue, makeGguf } from "../support/gguf.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import {
  loadFolder,
  loadQwen2,
  makeQwen2Json,
  readJsonFile,
  readLlamaCppCases,
} from "./tokenizer-fixtures.ts";

async function textOf(path: string): Promise<TextTools> {
  const { files, close } = await openModelFiles(await openFileSet(path));
  try {
    return await loadTextTools(files, {});
  } finally {
    await close();
  }
}

const SPECIAL = 3;
const USER_DEFINED = 4;

function make(metadata: Record<string, GgufValue>): Tokenizer {
  const { tokenizer, config } = filesOf(metadata);
  return loadTokenizer(JSON.parse(JSON.stringify(tokenizer)), config, "model.gguf");
}

function filesOf(metadata: Record<string, GgufValue>) {
  const bytes = makeGguf({ metadata });
  const { metadata: values } = parseGgufHeader(bytes, bytes.length, "model.gguf");
  return toTokenizerFiles(new Metadata(values, "model.gguf"), "model.gguf");
}

describeWithSharedData("llama.cpp's vocabularies", () => {
  describe.each([
    ["gpt-2", 50257, undefined],
    ["llama-spm", 32000, 1],
  ])("%s", (name, vocabSize, first) => {
    const path = sharedData(`tokenizers/${name}/ggml-vocab-${name}.gguf`);
    let tokenizer: Tokenizer;
    beforeAll(async () => {
      tokenizer = (await textOf(path)).tokenizer!;
    });

    test("gives llama.cpp's ids, and the texts back", () => {
      const cases = readLlamaCppCases(path);
      expect(cases.length).toBeGreaterThan(40);
      for (const { text, ids } of cases) {
        const found = tokenizer.encode(text, { addSpecialTokens: false });
        expect(found, JSON.stringify(text)).toEqual(ids);
        expect(tokenizer.decode(ids)).toBe(text);
      }
    });

    test("knows its tokens", () => {
      expect(tokenizer.vocabSize).toBe(vocabSize);
      expect(tokenizer.bosTokenId).toBe(first ?? 50256);
      expect(tokenizer.encode("a")[0]).toBe(first ?? tokenizer.tokenId("a"));
      expect(tokenizer.specialIds.has(tokenizer.eosTokenId!)).toBe(true);
    });
  });

  test("stories260K: the ids of its tokenizer.json, for any text", async () => {
    const gguf = (await textOf(sharedData("stories260K/stories260K-f32.v1.gguf"))).tokenizer!;
    const hub = loadFolder(sharedData("stories260K/hf-f32"));
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(gguf.encode(text)).toEqual(hub.encode(text));
      }),
      { numRuns: 500 },
    );
    const words = readJsonFile<{ cases: { text: string }[] }>(
      sharedData("stories260K/golden-text.json"),
    );
    for (const { text } of words.cases) expect(gguf.encode(text)).toEqual(hub.encode(text));
  });

  test("Qwen2's vocabulary as GGUF has it: the ids of its tokenizer.json, and llama.cpp's", () => {
    const { model, added_tokens: added } = makeQwen2Json() as {
      model: { vocab: Record<string, number>; merges: string[] };
      added_tokens: { id: number; content: string }[];
    };
    const tokens: string[] = [];
    for (const [token, id] of Object.entries(model.vocab)) tokens[id] = token;
    const types = tokens.map(() => 1);
    for (const { id, content } of added) {
      tokens[id] = content;
      types[id] = SPECIAL;
    }
    const gguf = make({
      "tokenizer.ggml.model": ["string", "gpt2"],
      "tokenizer.ggml.pre": ["string", "qwen2"],
      "tokenizer.ggml.tokens": ["array", "string", tokens],
      "tokenizer.ggml.token_type": ["array", "i32", types],
      "tokenizer.ggml.merges": ["array", "string", model.merges],
      "tokenizer.ggml.bos_token_id": ["u32", 151643],
      "tokenizer.ggml.eos_token_id": ["u32", 151645],
      "tokenizer.ggml.add_bos_token": ["bool", false],
    });
    const hub = loadQwen2();
    for (const { text, ids } of readLlamaCppCases(
      sharedData("tokenizers/qwen2/ggml-vocab-qwen2.gguf"),
    )) {
      expect(gguf.encode(text), JSON.stringify(text)).toEqual(ids);
    }
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        expect(gguf.encode(text)).toEqual(hub.encode(text));
      }),
      { numRuns: 300 },
    );
    expect(gguf.encode("<|im_start|>user\nHi<|im_end|>\n")).toEqual(
      hub.encode("<|im_start|>user\nHi<|im_end|>\n"),
    );
    expect(gguf.eosToken).toBe("<|im_end|>");
  });
});

/** Byte-level tokens of all ASCII, and a few more. */
const ascii = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i));
const byteLevel = (
  pre: string,
  more: Record<string, GgufValue> = {},
): Record<string, GgufValue> => {
  const tokens = ["<s>", "</s>", ...ascii, "Ġ", "Ċ", "12", "123", "Ġa"];
  return {
    "tokenizer.ggml.model": ["string", "gpt2"],
    "tokenizer.ggml.pre": ["string", pre],
    "tokenizer.ggml.tokens": ["array", "string", tokens],
    "tokenizer.ggml.token_type": ["array", "i32", tokens.map((_, id) => (id < 2 ? SPECIAL : 1))],
    "tokenizer.ggml.merges": ["array", "string", ["1 2", "12 3", "Ġ a"]],
    "tokenizer.ggml.bos_token_id": ["u32", 0],
    "tokenizer.ggml.eos_token_id": ["u32", 1],
    ...more,
  };
};

describe("what the metadata says", () => {
  const pieces = (tokenizer: Tokenizer, text: string): (string | undefined)[] =>
    tokenizer.encode(text).map((id) => tokenizer.token(id));

  test.each([
    ["gpt-2", ["123", "Ġa"]],
    ["smollm", ["1", "2", "3", "Ġa"]],
    ["llama-bpe", ["<s>", "123", "Ġa"]],
    ["qwen2", ["1", "2", "3", "Ġa"]],
    ["tekken", ["<s>", "1", "2", "3", "Ġa"]],
    ["default", ["123", "Ġa"]],
  ])("%s splits numbers its way, and begins as its models do", (pre, expected) => {
    expect(pieces(make(byteLevel(pre)), "123 a")).toEqual(expected);
  });

  test("begins and ends a text as the file says, whatever is usual", () => {
    const around: Record<string, GgufValue> = {
      "tokenizer.ggml.add_bos_token": ["bool", true],
      "tokenizer.ggml.add_eos_token": ["bool", true],
    };
    expect(pieces(make(byteLevel("gpt-2", around)), "a")).toEqual(["<s>", "a", "</s>"]);
    const none: Record<string, GgufValue> = { "tokenizer.ggml.add_bos_token": ["bool", false] };
    expect(pieces(make(byteLevel("llama-bpe", none)), "a")).toEqual(["a"]);
  });

  test("carries the chat template", () => {
    const template: GgufValue = ["string", "{{ messages[0].content }}"];
    expect(
      filesOf(byteLevel("gpt-2", { "tokenizer.chat_template": template })).config,
    ).toMatchObject({
      chat_template: "{{ messages[0].content }}",
      bos_token: "<s>",
      eos_token: "</s>",
    });
  });

  const spm = (more: Record<string, GgufValue> = {}): Record<string, GgufValue> => ({
    "tokenizer.ggml.model": ["string", "llama"],
    "tokenizer.ggml.tokens": [
      "array",
      "string",
      ["<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "b", "ab", "▁ab", "[X]"],
    ],
    "tokenizer.ggml.scores": ["array", "f32", [0, 0, 0, 0, -9, -9, -9, -1, -2, 0]],
    "tokenizer.ggml.token_type": ["array", "i32", [2, 3, 3, 6, 1, 1, 1, 1, 1, USER_DEFINED]],
    ...more,
  });

  test("SentencePiece: scores, bytes, its usual ids, and words of the user's", () => {
    const tokenizer = make(spm());
    expect(pieces(tokenizer, "ab[X]A")).toEqual(["<s>", "▁ab", "[X]", "▁", "<0x41>"]);
    expect(tokenizer.decode(tokenizer.encode("ab"), { skipSpecialTokens: true })).toBe("ab");
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.unkTokenId]).toEqual([1, 2, 0]);
  });

  test("SentencePiece without a space at the beginning", () => {
    const tokenizer = make(spm({ "tokenizer.ggml.add_space_prefix": ["bool", false] }));
    expect(pieces(tokenizer, "ab ab")).toEqual(["<s>", "ab", "▁ab"]);
    expect(tokenizer.decode(tokenizer.encode(" ab"), { skipSpecialTokens: true })).toBe(" ab");
  });

  test("nothing of a tokenizer", () => {
    expect(filesOf({}).tokenizer).toBeUndefined();
    expect(filesOf({ "tokenizer.ggml.model": ["string", "none"] }).tokenizer).toBeUndefined();
  });

  const refusals: Record<string, Record<string, GgufValue>> = {
    "another model": spm({ "tokenizer.ggml.model": ["string", "bert"] }),
    "an unknown split": byteLevel("some-new-one"),
    "scores of another vocabulary": spm({ "tokenizer.ggml.scores": ["array", "f32", [1]] }),
    "kinds of another vocabulary": spm({ "tokenizer.ggml.token_type": ["array", "i32", [1]] }),
    "tokens that are numbers": spm({ "tokenizer.ggml.tokens": ["array", "i32", [1]] }),
    "a merge of what is no token": byteLevel("gpt-2", {
      "tokenizer.ggml.merges": ["array", "string", ["a zz"]],
    }),
  };
  test.each(Object.entries(refusals))("%s is refused", async (title, metadata) => {
    expect({ [title]: await failureOf(() => make(metadata)) }).toMatchSnapshot();
  });
});
