// Named working memory that grows to what it is asked for and is used by one operation after another.
import type { Arena } from "./arena.ts";

export class Scratch {
  readonly #arena: Arena;
  readonly #run: () => void;
  readonly #spans: Map<string, { offset: number; nBytes: number }> = new Map();
  #moves = 0;

  /** @param run runs the recorded commands; called before memory that they may use moves or is written from outside */
  constructor(arena: Arena, run: () => void) {
    this.#arena = arena;
    this.#run = run;
  }

  /** Counts what was moved: addresses are good for as long as this stays. */
  get moves(): number {
    return this.#moves;
  }

  /** @param fresh the caller writes it now, not by a command: commands that read it run first */
  get(name: string, nBytes: number, { fresh = false }: { fresh?: boolean } = {}): number {
    const span = this.#spans.get(name);
    if (fresh) this.#run();
    if (span !== undefined && span.nBytes >= nBytes) return span.offset;
    if (span !== undefined) {
      this.#run();
      this.#spans.delete(name);
      this.#arena.free(span.offset);
      this.#moves++;
    }
    const offset = this.#arena.allocate(nBytes);
    this.#spans.set(name, { offset, nBytes });
    return offset;
  }
}
