// Choosing tokens where the logits are, as far as the backend can: an optional part of the contract, so that only a few bytes come
// back per token, and the next step can begin before they have arrived. The rules of backend.ts hold.
import type { Matrix, Tensor } from "./backend.ts";

/** The best of each row of some logits. */
export interface Choice {
  readonly kind: "choice";
  readonly rows: number;
  /** Ids kept per row. */
  readonly k: number;
}

/** What `readChoice` returns, row after row. */
export interface Chosen {
  /** [rows, k], best first; among equals the lower id first. */
  readonly ids: Uint32Array;
  /** [rows, k] */
  readonly logits: Float32Array;
  /** log Σ e^logit of each row [rows]; not finite if a logit is NaN or +Infinity, or if all are -Infinity */
  readonly logSums: Float32Array;
}

export interface Sampling {
  /** Largest k. */
  readonly maxK: number;
  /** @param k 1..maxK */
  createChoice(rows: number, k: number): Choice;
  freeChoice(choice: Choice): void;
  /** The k highest of rows `row`.. `row + n` of the logits [.., vocabulary] into rows 0..n-1. */
  choose(choice: Choice, logits: Tensor, n: number, row?: number): void;
  /** As `embed`, of the first id of each row of the choice: the next step, before the id is known here. */
  embedChosen(out: Tensor, table: Matrix, choice: Choice, n: number, scale?: number): void;
  /** Runs all that is recorded and returns the first n rows. What is recorded meanwhile does not wait for it. */
  readChoice(choice: Choice, n: number): Promise<Chosen>;
}
