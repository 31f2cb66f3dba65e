// Checks of arguments that the reference backend's operations share.
import type { Span, Tensor } from "../backend.ts";

/** A failed check is a mistake of the calling code, never of the user's input: a plain error. */
export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

export function checkRows(operation: string, what: string, { rows }: Tensor, n: number): void {
  check(Number.isInteger(n) && n >= 0 && n <= rows, `${operation}: ${n} rows of ${what}'s ${rows}`);
}

export function checkPositions(
  operation: string,
  position: number,
  n: number,
  length: number,
): void {
  check(
    Number.isInteger(position) && position >= 0 && position + n <= length,
    `${operation}: positions ${position}..${position + n - 1} of ${length}`,
  );
}

export function isSize(n: number): boolean {
  return Number.isSafeInteger(n) && n > 0;
}

/** Rows of all spans. */
export function countRows(operation: string, spans: readonly Span[]): number {
  check(
    spans.length > 0 && spans.every(({ n }) => isSize(n)),
    `${operation}: no spans, or an empty one`,
  );
  return spans.reduce((sum, { n }) => sum + n, 0);
}
