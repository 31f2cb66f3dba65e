// A call of `linear` for one row, kept as it was recorded. A decoder makes the same calls for every token, in which only the
// numbers m change; to copy what was recorded takes a fraction of the time of recording it anew.
import type { BankEntry, LinearOutput } from "../backend.ts";
import { WORDS } from "./commands.ts";
import type { Recorder } from "./recorder.ts";

/** The tables of a recording. */
export interface Tables {
  readonly table: Int32Array;
  /** Word index of the table when it was recorded. */
  readonly tableWord: number;
  /** Words of `commands` that hold the address of a table. */
  readonly tableWords: readonly number[];
  /** Words of `table` that hold the m of the segments that take part, in the order of the outputs. */
  readonly numberWords: readonly number[];
}

/** What was recorded, relative to where its table lay. */
interface Content extends Tables {
  readonly commands: Int32Array;
}

export class LinearRecording {
  readonly #recorder: Recorder;
  readonly #from: number;
  readonly #outputs: readonly LinearOutput[];
  readonly #content: Content;
  readonly #moves: number;
  /** When all handles were last found alive. */
  #deletions: number;

  /** @param from address of the row */
  constructor(
    recorder: Recorder,
    from: number,
    outputs: readonly LinearOutput[],
    content: Content,
  ) {
    this.#recorder = recorder;
    this.#from = from;
    this.#outputs = outputs.map((output) => ({ ...output, bank: output.bank.map(copyEntry) }));
    this.#content = content;
    this.#moves = recorder.scratch.moves;
    this.#deletions = recorder.handles.deletions;
  }

  /** Whether a call would record the same but for its m. @throws Error for a handle that was freed */
  fits(from: number, outputs: readonly LinearOutput[]): boolean {
    const { handles, scratch } = this.#recorder;
    if (from !== this.#from || this.#moves !== scratch.moves) return false;
    if (outputs.length !== this.#outputs.length) return false;
    for (let i = 0; i < outputs.length; i++) {
      const now = outputs[i] as LinearOutput;
      const then = this.#outputs[i] as LinearOutput;
      if (now.out !== then.out || now.weight !== then.weight || now.bias !== then.bias)
        return false;
      if (now.accumulate !== then.accumulate || now.bank.length !== then.bank.length) return false;
      for (let j = 0; j < now.bank.length; j++) {
        const entry = now.bank[j] as BankEntry;
        const before = then.bank[j] as BankEntry;
        if (entry.segment !== before.segment) return false;
        if ((firstOf(entry) === 0) !== (before.m === 0)) return false;
      }
    }
    if (this.#deletions !== handles.deletions) this.#checkHandles();
    return true;
  }

  #checkHandles(): void {
    const { handles } = this.#recorder;
    for (const { out, weight, bias, bank } of this.#outputs) {
      handles.get(out);
      handles.get(weight);
      if (bias !== undefined) handles.get(bias);
      for (const { segment } of bank) handles.get(segment);
    }
    this.#deletions = handles.deletions;
  }

  /** Records the call once more. */
  replay(outputs: readonly LinearOutput[]): void {
    const { arena, commands } = this.#recorder;
    const content = this.#content;
    const address = commands.table(content.table.length, content.commands.length / WORDS);
    const tableWord = address / 4;
    const { i32, f32 } = arena;
    if (content.table.length > 0) i32.set(content.table, tableWord);
    let number = 0;
    for (let i = 0; i < outputs.length; i++) {
      const { bank } = outputs[i] as LinearOutput;
      for (let j = 0; j < bank.length; j++) {
        const m = firstOf(bank[j] as BankEntry);
        if (m !== 0) f32[tableWord + (content.numberWords[number++] as number)] = m;
      }
    }
    commands.meet();
    const word = commands.append(content.commands);
    const shift = address - content.tableWord * 4;
    for (let i = 0; i < content.tableWords.length; i++) {
      const at = word + (content.tableWords[i] as number);
      i32[at] = (i32[at] as number) + shift;
    }
  }
}

/** m of the first row. */
function firstOf({ m }: BankEntry): number {
  return typeof m === "number" ? m : (m[0] as number);
}

function copyEntry(entry: BankEntry): BankEntry {
  return { segment: entry.segment, m: firstOf(entry) };
}
