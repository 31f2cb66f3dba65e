// The dispatches of one submission, and the two buffers of numbers that they read: parameters, one block per dispatch, and lists
// (token ids, m per row). Both are written at once before the submission; arrays live as long as the backend.

import type { Heap } from "./memory.ts";

/** Blocks of parameters begin at multiples of what every device accepts as a dynamic offset. */
const ALIGN_WORDS = 64;

/** What an address is where there is nothing. */
export const NONE = 0xffffffff;

/** What a dispatch reads beside activations. */
export interface Reads {
  readonly weights?: GPUBuffer | undefined;
  readonly bank?: Heap | undefined;
  readonly kv?: Heap | undefined;
  readonly bytes?: number;
}

export interface Dispatch {
  readonly shader: string;
  readonly groups: readonly [number, number, number];
  /** Byte offset of its parameters. */
  readonly params: number;
  readonly weights: GPUBuffer | undefined;
  readonly bank: Heap | undefined;
  readonly kv: Heap | undefined;
  /** Bytes of weights and cache that it reads, each counted once. */
  readonly bytes: number;
}

/** Words that grow. */
class Words {
  #words = new Uint32Array(1 << 12);
  #floats = new Float32Array(this.#words.buffer);
  length = 0;

  get bytes(): Uint32Array<ArrayBuffer> {
    return this.#words.subarray(0, this.length);
  }

  reserve(count: number): void {
    if (this.length + count <= this.#words.length) return;
    const larger = new Uint32Array(2 * (this.length + count));
    larger.set(this.#words);
    this.#words = larger;
    this.#floats = new Float32Array(larger.buffer);
  }

  word(value: number): void {
    this.reserve(1);
    this.#words[this.length++] = value;
  }

  float(value: number): void {
    this.reserve(1);
    this.#floats[this.length++] = value;
  }

  align(words: number): void {
    const end = Math.ceil(this.length / words) * words;
    this.reserve(end - this.length);
    this.#words.fill(0, this.length, end);
    this.length = end;
  }
}

export class DispatchList {
  readonly #params = new Words();
  readonly #lists = new Words();
  readonly dispatches: Dispatch[] = [];
  #start = 0;
  /** Longest block of parameters, in bytes. */
  longest = 0;

  get params(): Uint32Array<ArrayBuffer> {
    return this.#params.bytes;
  }

  get lists(): Uint32Array<ArrayBuffer> {
    return this.#lists.bytes;
  }

  clear(): void {
    this.dispatches.length = 0;
    this.#params.length = 0;
    this.#lists.length = 0;
    this.longest = 0;
  }

  /** Begins the parameters of the next dispatch. */
  begin(...words: number[]): void {
    this.#params.align(ALIGN_WORDS);
    this.#start = this.#params.length;
    this.words(...words);
  }

  words(...words: number[]): void {
    for (const word of words) this.#params.word(word);
  }

  float(value: number): void {
    this.#params.float(value);
  }

  /** Fills an array of `count` structs of `size` words, of which `used` were written. */
  pad(used: number, count: number, size: number): void {
    for (let i = used * size; i < count * size; i++) this.#params.word(0);
  }

  /** Adds numbers to the lists. @returns their address */
  list(words: Uint32Array): number {
    const at = this.#lists.length;
    for (const word of words) this.#lists.word(word);
    return at;
  }

  listFloats(values: Float32Array): number {
    const at = this.#lists.length;
    for (const value of values) this.#lists.float(value);
    return at;
  }

  /** Ends the dispatch that was begun. */
  end(
    shader: string,
    groups: readonly [number, number, number],
    { weights, bank, kv, bytes = 0 }: Reads = {},
  ): void {
    this.longest = Math.max(this.longest, (this.#params.length - this.#start) * 4);
    this.dispatches.push({ shader, groups, params: this.#start * 4, weights, bank, kv, bytes });
  }
}
