// Places in the heap for what passes hand to each other, by name. They grow, and are kept: sizes settle after the first tokens.
import type { Heap } from "./memory.ts";

export class Scratch {
  readonly #heap: Heap;
  readonly #places = new Map<string, { at: number; size: number }>();
  #outgrown: number[] = [];

  constructor(heap: Heap) {
    this.#heap = heap;
  }

  /** @param size in elements. @returns an address in elements */
  get(name: string, size: number): number {
    const place = this.#places.get(name);
    if (place !== undefined && place.size >= size) return place.at / 4;
    // Dispatches planned before may still use the old place.
    if (place !== undefined) this.#outgrown.push(place.at);
    const at = this.#heap.allocate(size * 4, () => undefined);
    this.#places.set(name, { at, size });
    return at / 4;
  }

  /** Called when all that was planned has been submitted. */
  release(): void {
    for (const at of this.#outgrown) this.#heap.free(at);
    this.#outgrown = [];
  }
}
