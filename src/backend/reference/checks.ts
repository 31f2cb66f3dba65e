// Checks of arguments that the reference backend's operations share.
import type { Tensor } from "../backend.ts";

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
