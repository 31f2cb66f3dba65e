// Python itself is the oracle: vectors/python_regex.py wrote what `re` answers.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { compilePythonRegex, RegexBudget } from "../../src/adapters/python-regex.ts";
import { TureenError } from "../../src/errors.ts";

interface Case {
  readonly pattern: string;
  readonly error?: true;
  readonly full: readonly number[];
  readonly start: readonly number[];
}

const vectors = JSON.parse(
  readFileSync(new URL("vectors/python-regex.json", import.meta.url), "utf8"),
) as { texts: string[]; cases: Case[] };

function compile(pattern: string, steps = 10_000_000) {
  return compilePythonRegex(pattern, "adapter_config.json", new RegexBudget(steps));
}

function codeAndMessage(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof TureenError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "no error";
}

describe("Python's own answers", () => {
  test("there are enough cases", () => {
    expect(vectors.cases.length).toBeGreaterThan(400);
  });
  test.each(vectors.cases)("$pattern", ({ pattern, error, full, start }) => {
    if (error) {
      expect(codeAndMessage(() => compile(pattern))).toMatch(/^ADAPTER_CONFIG_INVALID/);
      return;
    }
    const regex = compile(pattern);
    const answers = (matches: (text: string) => boolean): number[] =>
      vectors.texts.flatMap((text, i) => (matches(text) ? [i] : []));
    expect(answers(regex.fullMatch)).toEqual(full);
    expect(answers(regex.matchStart)).toEqual(start);
  });
});

test.each([
  ["(a)\\1", "back-references"],
  ["(?P<x>a)(?P=x)", "back-references"],
  ["(?>a)", "atomic groups"],
  ["a*+", "possessive quantifiers"],
  ["(a)?(?(1)b|c)", "conditions"],
  ["(?i:a)", "groups of the kind"],
  ["(?x)a b", "the flags x and L"],
  ["\\07", "octal"],
  ["😀", "characters beyond U+FFFF"],
  ["[😀]", "characters beyond U+FFFF"],
  ["(".repeat(200) + ")".repeat(200), "deeply nested groups"],
])("%s is refused", (pattern, construct) => {
  const message = codeAndMessage(() => compile(pattern));
  expect(message).toContain("ADAPTER_UNSUPPORTED: regular expressions with ");
  expect(message).toContain(construct);
});

test("a pattern over the limit is refused", () => {
  expect(codeAndMessage(() => compile("a".repeat(4097)))).toMatchInlineSnapshot(
    `"ADAPTER_UNSUPPORTED: a regular expression is too long: expected at most 4096 characters, found 4097 (adapter_config.json). List the module names instead."`,
  );
});

test("a name over the limit is refused", () => {
  expect(codeAndMessage(() => compile("a*").fullMatch("a".repeat(513)))).toMatchInlineSnapshot(
    `"ADAPTER_UNSUPPORTED: a module name is too long to match: expected at most 512 characters, found 513"`,
  );
});

test("an invalid pattern says where", () => {
  expect(codeAndMessage(() => compile("model.(q|k"))).toMatchInlineSnapshot(
    `"ADAPTER_CONFIG_INVALID: a regular expression is invalid: missing ): found "model.(q|k" at character 10 (adapter_config.json)"`,
  );
});

describe("patterns that make backtracking engines hang", () => {
  const name = `${"a".repeat(500)}!`;
  test.each(["(a+)+b", "(a|a)*b", "(a|aa)+b", "(.*)*(.*)*(.*)*b", "((a{0,9}){0,9}){0,9}b"])(
    "%s answers within its budget",
    (pattern) => {
      expect(compile(pattern).fullMatch(name)).toBe(false);
    },
  );
  test("work is limited", () => {
    const regex = compile("(?:(?=.*(?=.*(?=.*x))).)*", 1_000_000);
    expect(codeAndMessage(() => regex.fullMatch(name))).toMatchInlineSnapshot(
      `"ADAPTER_UNSUPPORTED: the adapter's patterns take too long to match. List the module names in place of regular expressions."`,
    );
  });
});
