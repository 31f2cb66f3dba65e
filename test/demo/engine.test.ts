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
  const sort = (paths: readonly string[]) => {
    const { base, adapters } = sortFiles(paths.map((path) => ({ path, file: new File([], path) })));
    const names = (folder: { name: string; files: object }) =>
      `${folder.name}: ${Object.keys(folder.files).sort()}`;
    return [base && names(base), ...adapters.map(names)];
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
    ["something else", ["cat.jpg"], [": cat.jpg"]],
  ])("%s", (_, paths, sorted) => {
    expect(sort(paths)).toEqual(sorted);
  });
});
