// A list of commands in wasm memory, as assembly/run.ts reads it: 16 words each.
import type { Arena } from "./arena.ts";

/** Operation codes of assembly/run.ts. */
export const Op = {
  embed: { f32: 0, q8: 1, q4: 2 },
  rmsNorm: 3,
  pack: { f32: 4, i16: 5, i8: 6 },
  linear: { f32: 7, q8: 8, q4: 9 },
  addBias: 10,
  rope: 11,
  writeKv: 12,
  attention: 13,
  siluMul: 14,
  crossEntropy: 15,
  linearBackward: 16,
  addScaled: 17,
  addDot: 18,
  addBiasDot: 19,
  rmsNormBackward: 20,
  attentionBackward: 21,
  siluMulBackward: 22,
} as const;

/** How `linear` stores (assembly/layout.ts). */
export const Mode = { store: 0, add: 1, continue: 2 } as const;

const WORDS = 16;
/** Enough for a 32-layer decoder with a dozen adapters; a longer list is run in parts. */
const CAPACITY = 8192;

export class CommandList {
  readonly offset: number;
  readonly #arena: Arena;
  #count = 0;

  constructor(arena: Arena) {
    this.#arena = arena;
    this.offset = arena.allocate(CAPACITY * WORDS * 4);
  }

  get count(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count === CAPACITY;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Appends a command whose arguments are all addresses and integers. All threads meet after it. */
  push(op: number, ...args: readonly number[]): void {
    const word = this.#word(this.#count++);
    const { i32 } = this.#arena;
    i32[word] = op;
    i32[word + 1] = 0;
    for (let i = 0; i < args.length; i++) i32[word + 2 + i] = args[i] as number;
  }

  /** Makes argument `index` of the last command a float. */
  float(index: number, value: number): void {
    this.#arena.f32[this.#word(this.#count - 1) + 2 + index] = value;
  }

  /** Says that the next command does not depend on the last one: threads need not meet between them. */
  joinNext(): void {
    this.#arena.i32[this.#word(this.#count - 1) + 1] = 1;
  }

  /** Takes `joinNext` back, at the end of a group. */
  meet(): void {
    if (this.#count > 0) this.#arena.i32[this.#word(this.#count - 1) + 1] = 0;
  }

  #word(index: number): number {
    return this.offset / 4 + index * WORDS;
  }
}
