// What the two halves of the parser share: the tree, the place in the pattern, the errors.
import { TureenError } from "../errors.ts";

/** Whether a UTF-16 unit matches. */
export type CharTest = (unit: number) => boolean;

export type RegexNode =
  | { readonly type: "char"; readonly test: CharTest }
  | { readonly type: "sequence"; readonly items: readonly RegexNode[] }
  | { readonly type: "choice"; readonly options: readonly RegexNode[] }
  | {
      readonly type: "repeat";
      readonly item: RegexNode;
      readonly min: number;
      readonly max: number;
    }
  | { readonly type: "assert"; readonly test: (text: string, at: number) => boolean }
  | {
      readonly type: "lookahead" | "lookbehind";
      readonly item: RegexNode;
      readonly negative: boolean;
    };

/** The pattern and how far it has been read. */
export interface PatternReader {
  readonly pattern: string;
  readonly where: string;
  /** `(?i)` stands at the start. */
  ignoreCase: boolean;
  /** `(?s)` stands at the start: `.` matches line breaks too. */
  dotAll: boolean;
  at: number;
  depth: number;
}

/** The pattern is an error in Python too. */
export function invalidPattern(reader: PatternReader, reason: string): TureenError {
  return patternError(
    "ADAPTER_CONFIG_INVALID",
    `a regular expression is invalid: ${reason}`,
    reader,
  );
}

/** Python accepts the pattern, we do not. */
export function unsupportedPattern(reader: PatternReader, construct: string): TureenError {
  const what = `regular expressions with ${construct} are not supported`;
  return patternError("ADAPTER_UNSUPPORTED", what, reader, "List the module names instead.");
}

function patternError(
  code: "ADAPTER_CONFIG_INVALID" | "ADAPTER_UNSUPPORTED",
  what: string,
  { pattern, at, where }: PatternReader,
  hint?: string,
): TureenError {
  const shown = pattern.length <= 80 ? pattern : `${pattern.slice(0, 77)}...`;
  const found = `${JSON.stringify(shown)} at character ${at}`;
  return new TureenError(code, what, { found, where, ...(hint === undefined ? {} : { hint }) });
}

/** A node for one character. */
export function literal(reader: PatternReader, character: string): RegexNode {
  const unit = character.charCodeAt(0);
  if (isSurrogate(unit)) throw unsupportedPattern(reader, "characters beyond U+FFFF");
  if (!reader.ignoreCase) return { type: "char", test: (other) => other === unit };
  const lower = character.toLowerCase();
  return { type: "char", test: (other) => String.fromCharCode(other).toLowerCase() === lower };
}

/** Half of a character that Python sees as one. */
export function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}
