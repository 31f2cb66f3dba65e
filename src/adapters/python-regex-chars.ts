// Characters of Python's `re`: escapes and classes, with their ASCII meaning.
import {
  type CharTest,
  invalidPattern,
  isSurrogate,
  literal,
  type PatternReader,
  type RegexNode,
  unsupportedPattern,
} from "./python-regex-reader.ts";

const isDigit: CharTest = (unit) => unit >= 0x30 && unit <= 0x39;
const isSpace: CharTest = (unit) => unit === 0x20 || (unit >= 0x09 && unit <= 0x0d);
const isWord: CharTest = (unit) =>
  isDigit(unit) ||
  (unit >= 0x41 && unit <= 0x5a) ||
  (unit >= 0x61 && unit <= 0x7a) ||
  unit === 0x5f;
const not =
  (test: CharTest): CharTest =>
  (unit) =>
    !test(unit);

const CATEGORIES: ReadonlyMap<string, CharTest> = new Map([
  ["d", isDigit],
  ["D", not(isDigit)],
  ["s", isSpace],
  ["S", not(isSpace)],
  ["w", isWord],
  ["W", not(isWord)],
]);

const CONTROLS: ReadonlyMap<string, string> = new Map([
  ["a", "\x07"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["v", "\v"],
]);

function isBoundary(text: string, at: number): boolean {
  const before = at > 0 && isWord(text.charCodeAt(at - 1));
  const after = at < text.length && isWord(text.charCodeAt(at));
  return before !== after;
}

/** Reads an escape outside a class. */
export function readEscape(reader: PatternReader): RegexNode {
  const c = reader.pattern[reader.at + 1];
  if (c === "A" || c === "Z" || c === "b" || c === "B") {
    reader.at += 2;
    if (c === "A") return { type: "assert", test: (_, at) => at === 0 };
    if (c === "Z") return { type: "assert", test: (text, at) => at === text.length };
    return { type: "assert", test: (text, at) => isBoundary(text, at) === (c === "b") };
  }
  if (c !== undefined && c >= "1" && c <= "9") throw unsupportedPattern(reader, "back-references");
  const read = readClassEscape(reader);
  return typeof read === "string" ? literal(reader, read) : { type: "char", test: read };
}

/** Reads an escape that stands for a character or a category. */
function readClassEscape(reader: PatternReader): string | CharTest {
  const rest = reader.pattern.slice(reader.at);
  const c = rest[1];
  if (c === undefined) throw invalidPattern(reader, "bad escape (end of pattern)");
  const category = CATEGORIES.get(c);
  const code = /^\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))/.exec(rest);
  if (category === undefined && code === null && /[0-9NU]/.test(c)) {
    throw unsupportedPattern(reader, "octal, \\N and \\U escapes");
  }
  const control = CONTROLS.get(c);
  if (category === undefined && code === null && control === undefined && /[A-Za-z]/.test(c)) {
    throw invalidPattern(reader, `bad escape \\${c}`);
  }
  reader.at += code === null ? 2 : code[0].length;
  if (category !== undefined) return category;
  if (code !== null) return String.fromCharCode(Number.parseInt((code[1] ?? code[2])!, 16));
  return control ?? c;
}

/** Reads a class: `[...]`, `[^...]`. A `]` that stands first is itself. */
export function parseClass(reader: PatternReader): CharTest {
  const { pattern } = reader;
  reader.at++;
  const negative = pattern[reader.at] === "^";
  if (negative) reader.at++;
  const tests: CharTest[] = [];
  const first = reader.at;
  while (pattern[reader.at] !== "]" || reader.at === first) {
    const low = readClassItem(reader);
    const isRange = pattern[reader.at] === "-" && pattern[reader.at + 1] !== "]";
    if (!isRange) {
      tests.push(typeof low === "string" ? charRange(reader, low, low) : low);
      continue;
    }
    reader.at++;
    const high = readClassItem(reader);
    if (typeof low !== "string" || typeof high !== "string" || high < low) {
      throw invalidPattern(reader, "bad character range");
    }
    tests.push(charRange(reader, low, high));
  }
  reader.at++;
  return (unit) => tests.some((test) => test(unit)) !== negative;
}

function readClassItem(reader: PatternReader): string | CharTest {
  const c = reader.pattern[reader.at];
  if (c === undefined) throw invalidPattern(reader, "unterminated character set");
  if (isSurrogate(c.charCodeAt(0))) {
    throw unsupportedPattern(reader, "characters beyond U+FFFF");
  }
  if (c !== "\\") {
    reader.at++;
    return c;
  }
  if (reader.pattern[reader.at + 1] === "b") {
    reader.at += 2;
    return "\b";
  }
  return readClassEscape(reader);
}

function charRange(reader: PatternReader, low: string, high: string): CharTest {
  const from = low.charCodeAt(0);
  const to = high.charCodeAt(0);
  const test: CharTest = (unit) => unit >= from && unit <= to;
  if (!reader.ignoreCase) return test;
  return (unit) => {
    const c = String.fromCharCode(unit);
    return test(c.toLowerCase().charCodeAt(0)) || test(c.toUpperCase().charCodeAt(0));
  };
}
