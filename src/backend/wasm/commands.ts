// A list of commands in wasm memory, as assembly/run.ts reads it: 16 words each; and tables that commands refer to.
import type { Arena } from "./arena.ts";

/** As in assembly/op-codes.ts. */
export const Op = {
  embed: { f32: 0, q8: 1, q4: 2, f16: 34, bf16: 35 },
  rmsNorm: 3,
  pack: { f32: 4, i16: 5, i8: 6 },
  linear: { f32: 7, q8: 8, q4: 9, f16: 36, bf16: 37 },
  addBias: 10,
  rope: 11,
  writeKv: { f32: 12, f16: 13 },
  attention: { f32: 14, f16: 15 },
  attentionParts: { f32: 16, f16: 17 },
  attentionCombine: 18,
  siluMul: 19,
  crossEntropy: 20,
  linearBackward: 21,
  addScaled: 22,
  addDot: 23,
  addBiasDot: 24,
  rmsNormBackward: 25,
  attentionBackward: 26,
  siluMulBackward: 27,
  geluMul: 40,
  geluMulBackward: 41,
  packWeights: { f32: 28, q8: 29, q4: 30, f16: 38, bf16: 39 },
  bankDown: { f32: 31, q8: 32, q4: 33 },
} as const;

/** How `linear` stores (assembly/layout.ts). */
export const Mode = { store: 0, add: 1, continue: 2 } as const;

/** Of a command. */
const WORDS = 16;
/** Enough for a 32-layer decoder with a dozen adapters; a longer list is run in parts. */
const CAPACITY = 8192;
const DATA_WORDS = 1 << 15;

export class CommandList {
  readonly offset: number;
  readonly #arena: Arena;
  readonly #run: () => void;
  #count = 0;
  /** Word index of the last command. */
  #last = 0;
  #data: number;
  #dataWords = DATA_WORDS;
  #dataUsed = 0;
  #runs = 0;

  /** @param run runs and clears the list; called when it is full */
  constructor(arena: Arena, run: () => void) {
    this.#arena = arena;
    this.#run = run;
    this.offset = arena.allocate(CAPACITY * WORDS * 4);
    this.#data = arena.allocate(DATA_WORDS * 4);
  }

  get count(): number {
    return this.#count;
  }

  get isEmpty(): boolean {
    return this.#count === 0 && this.#dataUsed === 0;
  }

  clear(): void {
    this.#count = 0;
    this.#dataUsed = 0;
    this.#runs++;
  }

  /**
   * Room for the table of the next commands, which the caller fills now: an address. The commands before may run; the table
   * lives until the next ones do.
   */
  table(words: number): number {
    if (this.#count === CAPACITY || this.#dataUsed + words > this.#dataWords) {
      this.#run();
      this.#dataUsed = 0;
    }
    if (words > this.#dataWords) {
      const room = this.#arena.allocate(words * 4); // or the old one stays
      this.#arena.free(this.#data);
      this.#data = room;
      this.#dataWords = words;
    }
    const offset = this.#data + this.#dataUsed * 4;
    this.#dataUsed += words;
    return offset;
  }

  /**
   * Appends a command whose arguments are addresses and integers. All threads meet after it. (Parameters one by one: a decoder
   * records a thousand commands per token, and a rest parameter would allocate an array for each.)
   */
  push(
    op: number,
    a0 = 0,
    a1 = 0,
    a2 = 0,
    a3 = 0,
    a4 = 0,
    a5 = 0,
    a6 = 0,
    a7 = 0,
    a8 = 0,
    a9 = 0,
    a10 = 0,
    a11 = 0,
    a12 = 0,
  ): void {
    if (this.#count === CAPACITY) this.#run();
    const word = this.offset / 4 + this.#count++ * WORDS;
    this.#last = word;
    const { i32 } = this.#arena;
    i32[word] = op;
    i32[word + 1] = 0;
    i32[word + 2] = a0;
    i32[word + 3] = a1;
    i32[word + 4] = a2;
    i32[word + 5] = a3;
    i32[word + 6] = a4;
    i32[word + 7] = a5;
    i32[word + 8] = a6;
    i32[word + 9] = a7;
    i32[word + 10] = a8;
    i32[word + 11] = a9;
    i32[word + 12] = a10;
    i32[word + 13] = a11;
    i32[word + 14] = a12;
  }

  /** Makes argument `index` of the last command a float. */
  float(index: number, value: number): void {
    this.#arena.f32[this.#last + 2 + index] = value;
  }

  /** The same with an integer: of the last argument, which `push` leaves out. */
  integer(index: number, value: number): void {
    this.#arena.i32[this.#last + 2 + index] = value;
  }

  /** Says that the next command does not depend on the last one: threads need not meet between them. */
  joinNext(): void {
    this.#arena.i32[this.#last + 1] = 1;
  }

  /** Counts how often the list was run: places in it are good for as long as this stays. */
  get runs(): number {
    return this.#runs;
  }

  /** Word index of argument `index` of the last command. */
  argument(index: number): number {
    return this.#last + 2 + index;
  }

  /** All commands and tables. */
  copy(): { commands: Int32Array; tables: Int32Array; tablesAt: number } {
    const [start, data] = [this.offset / 4, this.#data / 4];
    return {
      commands: this.#arena.i32.slice(start, start + this.#count * WORDS),
      tables: this.#arena.i32.slice(data, data + this.#dataUsed),
      tablesAt: data,
    };
  }

  /** Where tables lie: a word index. */
  get tablesAt(): number {
    return this.#data / 4;
  }

  /** Puts a copy back in its place: the list is empty, and its tables are where they were. */
  paste({ commands, tables }: { commands: Int32Array; tables: Int32Array }): void {
    const { i32 } = this.#arena;
    i32.set(commands, this.offset / 4);
    i32.set(tables, this.#data / 4);
    this.#count = commands.length / WORDS;
    this.#dataUsed = tables.length;
    this.#last = this.offset / 4 + commands.length - WORDS;
  }

  /** Takes `joinNext` back, at the end of a group. */
  meet(): void {
    if (this.#count > 0) this.#arena.i32[this.#last + 1] = 0;
  }
}
