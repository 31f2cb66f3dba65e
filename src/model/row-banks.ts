// The banks of a pass over rows of several sequences, each under its own soup: every sequence's entries with one m per row, 0 on
// the rows of others. Lists and numbers are kept from pass to pass.
import type { BankEntry, Segment, SoupEntry } from "../backend/backend.ts";

/** Bank entries of each linear layer by `LinearInfo.path`; a missing path has none. Read while a pass runs. */
export type Banks = ReadonlyMap<string, readonly SoupEntry[]>;

/** Banks whose entries may have one m per row. */
export type PassBanks = ReadonlyMap<string, readonly BankEntry[]>;

/** Consecutive rows under one soup. */
export interface RowRun {
  readonly banks: Banks;
  readonly n: number;
}

interface RowEntry extends BankEntry {
  segment: Segment;
  readonly m: Float32Array;
}

export class RowBanks {
  readonly #maxRows: number;
  readonly #lists = new Map<string, RowEntry[]>();
  readonly #spare: RowEntry[] = [];

  /** @param maxRows of a pass */
  constructor(maxRows: number) {
    this.#maxRows = maxRows;
  }

  /**
   * Lays out the banks of runs that follow each other. Each sequence's entries keep their order, so each row's sum has the
   * order it has alone; a segment is listed again where the sequences' orders differ.
   * @returns valid until the next call
   */
  fill(runs: readonly RowRun[]): PassBanks {
    const [first] = runs;
    if (first !== undefined && runs.every(({ banks }) => banks === first.banks)) return first.banks;
    for (const list of this.#lists.values()) {
      for (let entry = list.pop(); entry !== undefined; entry = list.pop()) this.#spare.push(entry);
    }
    let row = 0;
    for (const { banks, n } of runs) {
      for (const [path, entries] of banks) this.#add(path, entries, row, n);
      row += n;
    }
    return this.#lists;
  }

  #add(path: string, entries: readonly SoupEntry[], row: number, n: number): void {
    let list = this.#lists.get(path);
    if (list === undefined) {
      list = [];
      this.#lists.set(path, list);
    }
    let place = 0;
    for (const { segment, m } of entries) {
      while (place < list.length && list[place]!.segment !== segment) place++;
      if (place === list.length) list.push(this.#create(segment));
      list[place++]!.m.fill(m, row, row + n);
    }
  }

  #create(segment: Segment): RowEntry {
    const entry = this.#spare.pop() ?? { segment, m: new Float32Array(this.#maxRows) };
    entry.segment = segment;
    entry.m.fill(0);
    return entry;
  }
}

/** The same entries for a call whose rows begin at `row` of the pass. */
export function entriesFrom(entries: readonly BankEntry[], row: number): readonly BankEntry[] {
  if (row === 0 || entries.length === 0) return entries;
  return entries.map(({ segment, m }) => ({
    segment,
    m: typeof m === "number" ? m : Array.prototype.slice.call(m, row),
  }));
}
