// Captures what is recorded for one token, with the places of what differs for the next one: its id, its position, and the
// numbers m of its banks. A replay is two copies into wasm memory and these few words.
import type { BankEntry } from "../backend.ts";
import type { Capture, Captures } from "../captures.ts";
import type { Arena } from "./arena.ts";
import type { CommandList } from "./commands.ts";
import type { HandleRegistry } from "./handles.ts";
import type { Scratch } from "./scratch.ts";

/** Addresses are word indexes of wasm memory. */
interface WasmCapture extends Capture {
  readonly commands: Int32Array;
  readonly tables: Int32Array;
  readonly tablesAt: number;
  /** Words that hold the token's id. */
  readonly ids: readonly number[];
  /** Words that hold its position. */
  readonly positions: readonly number[];
  /** Words that hold an entry's m. */
  readonly numbers: readonly { readonly word: number; readonly entry: BankEntry }[];
  /** Entries that take no part. */
  readonly zeros: readonly BankEntry[];
  /** Positions [from, to) for which the commands are the same. */
  readonly from: number;
  readonly to: number;
  readonly changes: number;
  readonly moves: number;
}

export class CaptureRecorder implements Captures {
  readonly #arena: Arena;
  readonly #handles: HandleRegistry;
  readonly #scratch: Scratch;
  readonly #commands: CommandList;
  #active = false;
  #runs = 0;
  #ids: number[] = [];
  #positions: number[] = [];
  #numbers: { word: number; entry: BankEntry }[] = [];
  #zeros: BankEntry[] = [];
  #from = 0;
  #to = 0;

  constructor(arena: Arena, handles: HandleRegistry, scratch: Scratch, commands: CommandList) {
    this.#arena = arena;
    this.#handles = handles;
    this.#scratch = scratch;
    this.#commands = commands;
  }

  start(): void {
    this.#active = this.#commands.isEmpty;
    this.#runs = this.#commands.runs;
    this.#ids = [];
    this.#positions = [];
    this.#numbers = [];
    this.#zeros = [];
    this.#from = 0;
    this.#to = Number.POSITIVE_INFINITY;
  }

  finish(): WasmCapture | undefined {
    const isWhole = this.#active && this.#runs === this.#commands.runs;
    this.#active = false;
    if (!isWhole) return undefined;
    return {
      kind: "capture",
      ...this.#commands.copy(),
      ids: this.#ids,
      positions: this.#positions,
      numbers: this.#numbers,
      zeros: this.#zeros,
      from: this.#from,
      to: this.#to,
      changes: this.#handles.changes,
      moves: this.#scratch.moves,
    };
  }

  replay(capture: Capture, id: number, position: number): boolean {
    const kept = capture as WasmCapture;
    if (!this.#commands.isEmpty || !this.#isGood(kept, position)) return false;
    const { i32, f32 } = this.#arena;
    this.#commands.paste(kept);
    for (const word of kept.ids) i32[word] = id;
    for (const word of kept.positions) i32[word] = position;
    for (const { word, entry } of kept.numbers) f32[word] = firstOf(entry);
    return true;
  }

  #isGood(kept: WasmCapture, position: number): boolean {
    if (position < kept.from || position >= kept.to) return false;
    if (kept.changes !== this.#handles.changes) return false;
    if (kept.moves !== this.#scratch.moves || kept.tablesAt !== this.#commands.tablesAt)
      return false;
    for (const { entry } of kept.numbers) if (firstOf(entry) === 0) return false;
    for (const entry of kept.zeros) if (firstOf(entry) !== 0) return false;
    return true;
  }

  // ---- for recorders: what differs from token to token

  id(word: number): void {
    if (this.#active) this.#ids.push(word);
  }

  /** Argument `index` of the last command is the position. */
  position(index: number): void {
    if (this.#active) this.#positions.push(this.#commands.argument(index));
  }

  /** What was recorded is right for positions [from, to). */
  within(from: number, to: number): void {
    if (!this.#active) return;
    this.#from = Math.max(this.#from, from);
    this.#to = Math.min(this.#to, to);
  }

  number(word: number, entry: BankEntry): void {
    if (this.#active) this.#numbers.push({ word, entry });
  }

  zero(entry: BankEntry): void {
    if (this.#active) this.#zeros.push(entry);
  }
}

/** m of the first row. */
function firstOf({ m }: BankEntry): number {
  return typeof m === "number" ? m : (m[0] as number);
}
