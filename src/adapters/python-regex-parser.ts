// Syntax of Python's `re` (3.11), as far as matching without captures goes: text → tree. Follows CPython's `re/_parser.py` in
// what is an error. Greedy and lazy quantifiers mean the same here.
import { TureenError } from "../errors.ts";
import { parseClass, readEscape } from "./python-regex-chars.ts";
import {
  invalidPattern,
  literal,
  type PatternReader,
  type RegexNode,
  unsupportedPattern,
} from "./python-regex-reader.ts";

/** Longest accepted pattern, in UTF-16 units. The longest in the wild have some hundreds. */
const MAX_PATTERN_LENGTH = 4096;
/** Deepest nesting of groups: parsing and matching recurse. */
const MAX_NESTING = 100;

/**
 * Parses a pattern.
 * @throws TureenError `ADAPTER_CONFIG_INVALID` (Python refuses it), `ADAPTER_UNSUPPORTED` (we do)
 */
export function parsePythonRegex(pattern: string, where: string): RegexNode {
  if (pattern.length > MAX_PATTERN_LENGTH) {
    throw new TureenError("ADAPTER_UNSUPPORTED", "a regular expression is too long", {
      expected: `at most ${MAX_PATTERN_LENGTH} characters`,
      found: `${pattern.length}`,
      where,
      hint: "List the module names instead.",
    });
  }
  const reader: PatternReader = {
    pattern,
    where,
    ignoreCase: false,
    dotAll: false,
    at: 0,
    depth: 0,
  };
  readGlobalFlags(reader);
  const node = parseChoice(reader);
  if (reader.at < pattern.length) throw invalidPattern(reader, "unbalanced parenthesis");
  return node;
}

/** `(?i)`, `(?s)`, `(?a)` ... `a` and `u` change nothing for ASCII, `m` nothing without line breaks. */
function readGlobalFlags(reader: PatternReader): void {
  const match = /^\(\?([aimsuxL]+)\)/.exec(reader.pattern);
  if (match === null) return;
  if (/[xL]/.test(match[1]!)) throw unsupportedPattern(reader, "the flags x and L");
  reader.ignoreCase = match[1]!.includes("i");
  reader.dotAll = match[1]!.includes("s");
  reader.at = match[0].length;
}

function parseChoice(reader: PatternReader): RegexNode {
  const options = [parseSequence(reader)];
  while (reader.pattern[reader.at] === "|") {
    reader.at++;
    options.push(parseSequence(reader));
  }
  return options.length === 1 ? options[0]! : { type: "choice", options };
}

function parseSequence(reader: PatternReader): RegexNode {
  const items: RegexNode[] = [];
  const { pattern } = reader;
  while (reader.at < pattern.length && pattern[reader.at] !== "|" && pattern[reader.at] !== ")") {
    const quantifier = readQuantifier(reader);
    if (quantifier !== undefined) throw invalidPattern(reader, "nothing to repeat");
    const item = parseAtom(reader);
    if (item !== undefined) items.push(parseRepeat(reader, item));
  }
  return { type: "sequence", items };
}

function parseRepeat(reader: PatternReader, item: RegexNode): RegexNode {
  const quantifier = readQuantifier(reader);
  if (quantifier === undefined) return item;
  if (item.type === "assert") throw invalidPattern(reader, "nothing to repeat");
  const { pattern } = reader;
  if (pattern[reader.at] === "+") throw unsupportedPattern(reader, "possessive quantifiers");
  if (pattern[reader.at] === "?") reader.at++;
  if (readQuantifier(reader) !== undefined) throw invalidPattern(reader, "multiple repeat");
  return { type: "repeat", item, ...quantifier };
}

/** `*`, `+`, `?`, `{m}`, `{m,}`, `{,n}`, `{m,n}`; any other brace is itself. */
function readQuantifier(reader: PatternReader): { min: number; max: number } | undefined {
  const c = reader.pattern[reader.at];
  if (c === "*" || c === "+" || c === "?") {
    reader.at++;
    return { min: c === "+" ? 1 : 0, max: c === "?" ? 1 : Number.POSITIVE_INFINITY };
  }
  if (c !== "{") return undefined;
  const rest = reader.pattern.slice(reader.at);
  const match = /^\{(\d*)(?:(,)(\d*))?\}/.exec(rest);
  if (match === null || match[0] === "{}") return undefined;
  const min = Number(match[1] || 0);
  const upper = match[2] === undefined ? match[1] : match[3];
  const max = upper ? Number(upper) : Number.POSITIVE_INFINITY;
  if (max < min) throw invalidPattern(reader, "min repeat greater than max repeat");
  reader.at += match[0].length;
  return { min, max };
}

/** `undefined` for a comment. */
function parseAtom(reader: PatternReader): RegexNode | undefined {
  const c = reader.pattern[reader.at]!;
  switch (c) {
    case "(":
      return parseGroup(reader);
    case "[":
      return { type: "char", test: parseClass(reader) };
    case ".": {
      reader.at++;
      const { dotAll } = reader;
      return { type: "char", test: (unit) => dotAll || unit !== 0x0a };
    }
    case "^":
      reader.at++;
      return { type: "assert", test: (_, at) => at === 0 };
    case "$":
      reader.at++;
      return {
        type: "assert",
        test: (text, at) => at === text.length || (at === text.length - 1 && text[at] === "\n"),
      };
    case "\\":
      return readEscape(reader);
    default: {
      reader.at++;
      return literal(reader, c);
    }
  }
}

const LOOK: ReadonlyMap<string, { type: "lookahead" | "lookbehind"; negative: boolean }> = new Map([
  ["(?=", { type: "lookahead", negative: false }],
  ["(?!", { type: "lookahead", negative: true }],
  ["(?<=", { type: "lookbehind", negative: false }],
  ["(?<!", { type: "lookbehind", negative: true }],
]);

function parseGroup(reader: PatternReader): RegexNode | undefined {
  const rest = reader.pattern.slice(reader.at);
  if (rest.startsWith("(?#")) {
    const end = rest.indexOf(")");
    if (end < 0) throw invalidPattern(reader, "missing ), unterminated comment");
    reader.at += end + 1;
    return undefined;
  }
  const open = /^\((?:\?(?::|P<[A-Za-z_][A-Za-z_0-9]*>|<?[=!]))?/.exec(rest)![0];
  if (open === "(" && rest[1] === "?") throw unsupportedPattern(reader, groupName(rest));
  if (++reader.depth > MAX_NESTING) throw unsupportedPattern(reader, "deeply nested groups");
  reader.at += open.length;
  const item = parseChoice(reader);
  if (reader.pattern[reader.at] !== ")") throw invalidPattern(reader, "missing )");
  reader.at++;
  reader.depth--;
  const look = LOOK.get(open);
  return look === undefined ? { type: "sequence", items: [item] } : { ...look, item };
}

function groupName(rest: string): string {
  if (rest.startsWith("(?P=")) return "back-references";
  if (rest.startsWith("(?>")) return "atomic groups";
  if (rest.startsWith("(?(")) return "conditions";
  return `groups of the kind ${JSON.stringify(rest.slice(0, 4))}`;
}
