// Which row of a pass is whose: the sequences' tokens, one after another, in the forms that the steps of a pass take.
import type { KvCache, Span } from "../backend/backend.ts";
import type { Banks, RowRun } from "./row-banks.ts";

/** One sequence's share of a pass: its tokens at `position`.. of its cache, which must hold all positions before. */
export interface PassPart {
  /** At least one. */
  readonly ids: ArrayLike<number>;
  readonly position: number;
  readonly cache: KvCache;
  readonly banks: Banks;
  /** Receives the logits of as many of the last tokens as it has room for: [.., vocabSize]. Default: none are computed. */
  readonly logits?: Float32Array | undefined;
  /**
   * Only so many of the best logits of each row matter: where the backend can choose them, all others are -Infinity, and few bytes
   * come back. Default: all matter.
   */
  readonly best?: number | undefined;
  /**
   * Steps beyond the last id, each with the best token of the one before, chosen where the logits are: none waits for another's
   * logits to arrive. For a part alone with `best` 1 (see `canRunAhead`); `logits` then has a row for each step, and `tokens` receives
   * each one's choice. Default 0.
   */
  readonly ahead?: number | undefined;
  readonly tokens?: number[] | undefined;
}

/** Where the rows of a pass lie. First what is only run, then, side by side, the rows whose logits are wanted. */
export interface Layout {
  readonly ids: Int32Array;
  readonly spans: readonly Span[];
  readonly runs: readonly RowRun[];
  /** The first row with logits. */
  readonly head: number;
}

/** Lays out the rows of a pass. */
export function placeRows(parts: readonly PassPart[], vocabSize: number): Layout {
  const total = parts.reduce((sum, { ids }) => sum + ids.length, 0);
  const ids = new Int32Array(total);
  const spans: { cache: KvCache; position: number; n: number }[] = [];
  const runs: { banks: Banks; n: number }[] = [];
  let row = 0;
  const add = (part: PassPart, start: number, end: number): void => {
    if (start === end) return;
    const { cache, banks } = part;
    const position = part.position + start;
    for (let i = start; i < end; i++) ids[row++] = part.ids[i]!;
    const [span, run] = [spans.at(-1), runs.at(-1)];
    // what follows the span before goes on in it
    if (span?.cache === cache && span.position + span.n === position) span.n += end - start;
    else spans.push({ cache, position, n: end - start });
    if (run?.banks === banks) run.n += end - start;
    else runs.push({ banks, n: end - start });
  };
  const bodyOf = ({ ids, logits }: PassPart): number =>
    ids.length - (logits?.length ?? 0) / vocabSize;
  for (const part of parts) add(part, 0, bodyOf(part));
  const head = row;
  for (const part of parts) add(part, bodyOf(part), part.ids.length);
  return { ids, spans, runs, head };
}
