// Python regular expressions over module names, as adapter configs carry them. Written by strangers, so they do not run on
// the host's backtracking engine: a pattern becomes a function from a set of positions to the set of positions where a match
// can end. Whether a match exists does not depend on which one is tried first, so this gives Python's answer in time
// polynomial in pattern and name. Back-references, atomic groups and possessive quantifiers would break that, and are refused.
import { TureenError } from "../errors.ts";
import { parsePythonRegex } from "./python-regex-parser.ts";
import type { CharTest, RegexNode } from "./python-regex-reader.ts";

/** Longest accepted name, in UTF-16 units. Names of real modules stay below 100. */
const MAX_NAME_LENGTH = 512;

/** A limit on work that several patterns can share, in positions visited. */
export class RegexBudget {
  #left: number;
  constructor(steps: number) {
    this.#left = steps;
  }
  spend(steps: number): void {
    this.#left -= steps + 1;
    if (this.#left >= 0) return;
    throw new TureenError("ADAPTER_UNSUPPORTED", "the adapter's patterns take too long to match", {
      hint: "List the module names in place of regular expressions.",
    });
  }
}

/** A compiled pattern. */
export interface PythonRegex {
  /** `re.fullmatch` */
  fullMatch(name: string): boolean;
  /** `re.match`: a match at the start, of any length. */
  matchStart(name: string): boolean;
}

/**
 * Compiles a pattern of Python's `re` with the meaning it has for a str of ASCII characters.
 * @param where for messages
 * @param budget shared limit on work
 * @throws TureenError `ADAPTER_CONFIG_INVALID` if Python refuses it too; `ADAPTER_UNSUPPORTED` for constructs beyond us, for
 *   patterns of more than 4096 characters, and (from the matching functions) for too much work
 */
export function compilePythonRegex(
  pattern: string,
  where: string,
  budget: RegexBudget,
): PythonRegex {
  const match = build(parsePythonRegex(pattern, where), budget);
  return {
    fullMatch: (name) => match(checkName(name), [0]).includes(name.length),
    matchStart: (name) => match(checkName(name), [0]).length > 0,
  };
}

function checkName(name: string): string {
  if (name.length <= MAX_NAME_LENGTH) return name;
  throw new TureenError("ADAPTER_UNSUPPORTED", "a module name is too long to match", {
    expected: `at most ${MAX_NAME_LENGTH} characters`,
    found: `${name.length}`,
  });
}

/** Positions where a match can end, given where it may start. No position occurs twice. */
type Matcher = (text: string, starts: readonly number[]) => readonly number[];

function build(node: RegexNode, budget: RegexBudget): Matcher {
  switch (node.type) {
    case "char":
      return buildChar(node.test, budget);
    case "sequence":
      return buildSequence(node.items.map((item) => build(item, budget)));
    case "choice": {
      const options = node.options.map((option) => build(option, budget));
      return (text, starts) => [...new Set(options.flatMap((option) => option(text, starts)))];
    }
    case "repeat":
      return buildRepeat(build(node.item, budget), node.min, node.max, budget);
    case "assert":
      return (text, starts) => {
        budget.spend(starts.length);
        return starts.filter((at) => node.test(text, at));
      };
    case "lookahead": {
      const item = build(node.item, budget);
      return (text, starts) => starts.filter((at) => item(text, [at]).length > 0 !== node.negative);
    }
    case "lookbehind": {
      const item = build(node.item, budget);
      return (text, starts) => starts.filter((at) => endsAt(item, text, at) !== node.negative);
    }
  }
}

function buildChar(test: CharTest, budget: RegexBudget): Matcher {
  return (text, starts) => {
    budget.spend(starts.length);
    const ends: number[] = [];
    for (const at of starts) {
      if (at < text.length && test(text.charCodeAt(at))) ends.push(at + 1);
    }
    return ends;
  };
}

function buildSequence(items: readonly Matcher[]): Matcher {
  return (text, starts) => {
    let ends = starts;
    for (const item of items) {
      if (ends.length === 0) break;
      ends = item(text, ends);
    }
    return ends;
  };
}

function buildRepeat(item: Matcher, min: number, max: number, budget: RegexBudget): Matcher {
  return (text, starts) => {
    let required = starts;
    for (let i = 0; i < min && required.length > 0; i++) {
      budget.spend(required.length);
      const next = item(text, required);
      // Once a round changes nothing, no further round does.
      const stable = next.length === required.length && isSubset(next, required);
      required = next;
      if (stable) break;
    }
    const reached = new Set(required);
    let fresh = required;
    for (let i = min; i < max && fresh.length > 0; i++) {
      budget.spend(fresh.length);
      fresh = item(text, fresh).filter((at) => !reached.has(at));
      for (const at of fresh) reached.add(at);
    }
    return [...reached];
  };
}

function isSubset(positions: readonly number[], of: readonly number[]): boolean {
  const set = new Set(of);
  return positions.every((at) => set.has(at));
}

function endsAt(item: Matcher, text: string, end: number): boolean {
  for (let start = end; start >= 0; start--) {
    if (item(text, [start]).includes(end)) return true;
  }
  return false;
}
