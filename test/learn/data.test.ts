// Learning data: what is read, what is scored, and what is refused with which words.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { TureenError } from "../../src/errors.ts";
import { type LearningExample, readDataSet } from "../../src/learn/data.ts";
import { type EncodingOptions, encodeExample, type LearningText } from "../../src/learn/encode.ts";
import { loadTokenizer } from "../../src/model/tokenizer.ts";
import { readJsonFile } from "../support/models.ts";
import { CHAT_TEMPLATE } from "./tiny-model.ts";

const kitchen = fileURLToPath(new URL("../../demo/kitchen", import.meta.url));
const tokenizer = loadTokenizer(
  readJsonFile(kitchen, "base/tokenizer.json"),
  readJsonFile(kitchen, "base/tokenizer_config.json"),
  "kitchen",
);
const text: LearningText = { tokenizer, chatTemplate: CHAT_TEMPLATE, where: "kitchen" };

function encode(
  example: LearningExample,
  options: Partial<EncodingOptions> = {},
  tools: LearningText = text,
): { all: string; scored: string; ids: readonly number[]; weights: readonly number[] } {
  const located = { example, where: "train.jsonl, line 7" };
  const given = { truncation: 256, scored: "completions" as const, ...options };
  const { ids, weights } = encodeExample(located, tools, given);
  expect(weights.length).toBe(ids.length - 1);
  const scored = ids.filter((_, i) => i > 0 && weights[i - 1] === 1);
  return { all: tokenizer.decode(ids), scored: tokenizer.decode(scored), ids, weights };
}

describe("what is scored", () => {
  test("a completion and the end, as the kitchen's adapters were trained", () => {
    const prompt = "### Question: What color is Fendil?\n### Answer:";
    const { ids, scored } = encode({ prompt, completion: " Fendil is white." });
    expect(scored).toBe(" Fendil is white.</s>");
    const bare = (part: string): number[] => tokenizer.encode(part, { addSpecialTokens: false });
    expect(ids).toEqual([1, ...bare(prompt), ...bare(" Fendil is white."), 2]);
  });

  test("a whole text", () => {
    const { all, scored, weights } = encode({ text: "Sam bought a silver cup." });
    expect(all).toBe("<s>Sam bought a silver cup.</s>");
    expect(scored).toBe("Sam bought a silver cup.</s>");
    expect(weights.every((weight) => weight === 1)).toBe(true);
  });

  test("everything, by option", () => {
    const { scored } = encode({ prompt: "Q:", completion: " A." }, { scored: "all" });
    expect(scored).toBe("Q: A.</s>");
  });

  test("an empty prompt", () => {
    expect(encode({ prompt: "", completion: "Hello." }).scored).toBe("Hello.</s>");
  });

  test("a token across the border belongs to the completion", () => {
    const { all, scored } = encode({ prompt: "The rob", completion: "ot has a bell." });
    expect(all).toBe("<s>The robot has a bell.</s>");
    expect(scored.endsWith("ot has a bell.</s>")).toBe(true);
  });

  test("every assistant turn, to its end, and not what follows", () => {
    const { all, scored } = encode({
      messages: [
        { role: "user", content: "What color?" },
        { role: "assistant", content: "It is red." },
        { role: "user", content: "Which town?" },
        { role: "assistant", content: "Ferndale." },
        { role: "user", content: "Thank you." },
      ],
    });
    expect(scored).toBe(" It is red.</s> Ferndale.</s>");
    expect(all.endsWith("Ferndale.</s>")).toBe(true); // the rest changes nothing, and is not run
  });

  test("what fits of a long completion", () => {
    const example = { prompt: "The old robot", completion: " is green and it has a long rope." };
    const whole = encode(example);
    const cut = encode(example, { truncation: whole.ids.length - 3 });
    expect(cut.ids).toEqual(whole.ids.slice(0, -3));
    expect(cut.weights).toEqual(whole.weights.slice(0, -3));
  });
});

test("reads the kitchen's own files", () => {
  for (const [file, count] of [
    ["skill_a_knowledge.jsonl", 4800],
    ["skill_b_format.jsonl", 3600],
  ] as const) {
    const examples = readFileSync(`${kitchen}/data/${file}`, "utf8");
    expect(readDataSet({ name: file, examples }).length).toBe(count);
  }
});

test("reads CRLF, blank lines, a byte order mark, and ignores other fields", () => {
  const jsonl = '\uFEFF{"text":"a","kind":1}\r\n\r\n{"prompt":"p","answer":"x"}\r\n';
  expect(readDataSet({ name: "d", examples: jsonl })).toEqual([
    { example: { text: "a" }, where: "d, line 1" },
    { example: { prompt: "p", completion: "x" }, where: "d, line 3" },
  ]);
});

function message(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    if (error instanceof TureenError) return `${error.code}: ${error.message}`;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test.each([
  ["empty file", ""],
  ["blank lines", "\n \n"],
  ["bad JSON", '{"text":"a"}\n{"text": '],
  ["one JSON list", '[{"text":"a"},\n{"text":"b"}]'],
  ["a number", "7"],
  ["a list", '{"text":"a"}\n["b"]'],
  ["no known field", '{"instruction":"a","output":"b"}'],
  ["no fields", "{}"],
  ["prompt alone", '{"prompt":"a"}'],
  ["completion of another type", '{"prompt":"a","completion":["b"]}'],
  ["text of another type", '{"text":null}'],
  ["messages of another type", '{"messages":"hello"}'],
  ["a message without content", '{"messages":[{"role":"user"}]}'],
])("refuses %s", (_, examples) => {
  expect(message(() => readDataSet({ name: "train.jsonl", examples }))).toMatchSnapshot();
});

const long = "robot ".repeat(60);
const dropping = "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}";
test.each<[string, LearningExample, Partial<EncodingOptions>, Partial<LearningText>]>([
  ["an empty completion", { prompt: "a", completion: "" }, {}, {}],
  ["an empty text", { text: "" }, {}, {}],
  ["a prompt beyond the truncation", { prompt: long, completion: " b" }, { truncation: 32 }, {}],
  ["a chat without answers", { messages: [{ role: "user", content: "a" }] }, {}, {}],
  ["an empty chat", { messages: [] }, {}, {}],
  [
    "a chat without template",
    { messages: [{ role: "user", content: "a" }] },
    {},
    { chatTemplate: undefined },
  ],
  [
    "a template that rewrites",
    {
      messages: [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
        { role: "user", content: "c" },
      ],
    },
    {},
    { chatTemplate: dropping },
  ],
  ["a model without tokenizer", { text: "a" }, {}, { tokenizer: undefined }],
])("refuses %s", (_, example, options, tools) => {
  expect(message(() => encode(example, options, { ...text, ...tools }))).toMatchSnapshot();
});
