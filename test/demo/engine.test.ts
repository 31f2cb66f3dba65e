// What the demo site decides without a browser: links, verdicts, dropped files.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sortFiles } from "../../demo/src/engine/dropped.ts";
import { readLink, writeLink } from "../../demo/src/engine/link.ts";
import { judge } from "../../demo/src/engine/questions.ts";

describe("a link", () => {
  const weight = fc.float({ min: -100, max: 100, noNaN: true });
  const table = fc.array(weight, { minLength: 2, maxLength: 90 });
  test("gives back question, method and every bit of every weight", () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.constantFrom("custom", "ties"),
        table,
        weight,
        (q, m, fine, one) => {
          const facts = Float32Array.from(fine);
          const link = writeLink(q, m, { facts, answers: new Float32Array(3).fill(one) });
          const read = readLink(new URL(link, "https://example.com/").hash);
          expect(read.question).toBe(q);
          expect(read.method).toBe(m);
          const expected = facts.every((value) => value === facts[0]) ? facts[0]! + 0 : facts;
          expect(read.weights!.facts).toEqual(expected === 0 ? 0 : expected);
          expect(read.weights!.answers).toBe(one + 0); // -0 reads as 0
        },
      ),
    );
  });
  test.each([
    "",
    "#",
    "#w=",
    "#w=a",
    "#w=a:",
    "#w=a:NaN",
    "#w=a:1e9",
    "#w=a:~",
    "#w=a:~!!!",
    "#w=:1",
  ])("%s carries no weights", (hash) => {
    expect(readLink(hash).weights).toBeUndefined();
  });
});

describe("a verdict", () => {
  const question = {
    prompt: "### Question: What does Daxpel carry?\n### Answer:",
    answer: " Daxpel carries a ladder.",
    value: "ladder",
  };
  test.each([
    [" Daxpel carries a ladder.", true, "right"],
    [" Daxpel carries a ladder.", false, "no answer"],
    [" Daxpel carries a bucket.", true, "wrong fact"],
    [" Daxmit carries a bucket.", true, "wrong fact"],
    [" Daxpel is green.", true, "no answer"],
    [" the duck is in the garden.", true, "no answer"],
    ["", true, "no answer"],
  ] as const)("%j, finished %s: %s", (text, finished, verdict) => {
    expect(judge(question, text, finished)).toBe(verdict);
  });
  test("is not given where nobody knows", () => {
    expect(judge(undefined, " Anything.", true)).toBe("unknown");
  });
});

describe("dropped files", () => {
  /** By content: what a GGUF file says of itself, or that it cannot be read. */
  const kindOf = async (files: Readonly<Record<string, File>>) => {
    const text = await Object.values(files)[0]!.text();
    if (text === "broken") throw new Error(Object.keys(files).join());
    return text === "" ? undefined : (text as "model" | "adapter");
  };
  const sort = async (paths: readonly (string | readonly [path: string, content: string])[]) => {
    const files = paths.map((it) => {
      const [path, content] = typeof it === "string" ? [it, ""] : it;
      return { path, file: new File([content], path) };
    });
    const { base, adapters, unused, problems } = await sortFiles(files, kindOf);
    const names = (folder: { name: string; files: object }) =>
      `${folder.name}: ${Object.keys(folder.files).sort()}`;
    return {
      all: [base && names(base), ...adapters.map(names)],
      ...(unused.length > 0 && { unused: unused.map(names) }),
      ...(problems.length > 0 && { problems: problems.map(String) }),
    };
  };
  test.each([
    ["a base", ["config.json", "model.safetensors"], [": config.json,model.safetensors"]],
    [
      "folders of both",
      ["m/config.json", "m/tokenizer.json", "a/adapter_config.json", "b/adapter_config.json"],
      ["m: config.json,tokenizer.json", "a: adapter_config.json", "b: adapter_config.json"],
    ],
    [
      "both in one heap",
      ["config.json", "adapter_config.json", "adapter_model.safetensors"],
      [": config.json", ": adapter_config.json,adapter_model.safetensors"],
    ],
    ["an adapter alone", ["x/y/adapter_config.json"], [undefined, "y: adapter_config.json"]],
    [
      "an adapter with what its training left beside it",
      ["y/README.md", "y/adapter_config.json", "y/tokenizer.json"],
      [undefined, "y: adapter_config.json"],
    ],
    ["something else", ["cat.jpg"], [": cat.jpg"]],
  ])("%s", async (_, paths, all) => {
    expect(await sort(paths)).toEqual({ all });
  });
  test.each([
    ["a GGUF base", [["m-Q4_K_M.gguf", "model"]], { all: ["m-Q4_K_M: m-Q4_K_M.gguf"] }],
    ["a GGUF adapter", [["base.gguf", "adapter"]], { all: [undefined, "base: base.gguf"] }],
    [
      "both in one heap, named the wrong way round",
      [
        ["adapter_1.gguf", "model"],
        ["model.gguf", "adapter"],
        ["B.GGUF", "adapter"],
      ],
      { all: ["adapter_1: adapter_1.gguf", "model: model.gguf", "B: B.GGUF"] },
    ],
    [
      "shards, which are one model",
      [["d/m-00002-of-00002.gguf", "model"], ["d/m-00001-of-00002.gguf", "model"], "d/README.md"],
      { all: ["m: m-00001-of-00002.gguf,m-00002-of-00002.gguf"] },
    ],
    [
      "a GGUF adapter in a folder of safetensors, and beside another adapter",
      ["m/config.json", ["m/lora.gguf", "adapter"], "a/adapter_config.json"],
      { all: ["m: config.json", "lora: lora.gguf", "a: adapter_config.json"] },
    ],
    [
      "several models: the first",
      [
        ["m-Q4.gguf", "model"],
        ["m-Q8.gguf", "model"],
      ],
      { all: ["m-Q4: m-Q4.gguf"], unused: ["m-Q8: m-Q8.gguf"] },
    ],
    [
      "one that cannot be read: the others are kept",
      [
        ["m.gguf", "broken"],
        ["a.gguf", "adapter"],
      ],
      { all: [undefined, "a: a.gguf"], problems: ["Error: m.gguf"] },
    ],
    ["one that is neither", [["x.gguf", ""]], { all: ["x: x.gguf"] }],
  ] as const)("%s", async (_, paths, sorted) => {
    expect(await sort(paths)).toEqual(sorted);
  });
});
