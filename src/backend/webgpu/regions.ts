// Bookkeeping of one stretch of memory: first fit over a sorted list of gaps. Knows numbers only, no buffers.

export class Regions {
  readonly #align: number;
  /** Gaps in order of address; neighbours are merged. */
  readonly #gaps: { start: number; end: number }[] = [];
  readonly #sizes = new Map<number, number>();
  #capacity = 0;
  #used = 0;

  constructor(align: number) {
    this.#align = align;
  }

  get capacity(): number {
    return this.#capacity;
  }

  get used(): number {
    return this.#used;
  }

  grow(capacity: number): void {
    if (capacity <= this.#capacity) return;
    const start = this.#capacity;
    this.#capacity = capacity;
    this.#release(start, capacity);
  }

  /**
   * Address of `size` units, or undefined if no gap is large enough.
   * @param room units that the gap must have
   */
  allocate(size: number, room: number = size): number | undefined {
    const needed = Math.max(1, Math.ceil(size / this.#align)) * this.#align;
    const index = this.#gaps.findIndex(({ start, end }) => end - start >= Math.max(needed, room));
    const gap = this.#gaps[index];
    if (gap === undefined) return undefined;
    const at = gap.start;
    gap.start += needed;
    if (gap.start === gap.end) this.#gaps.splice(index, 1);
    this.#sizes.set(at, needed);
    this.#used += needed;
    return at;
  }

  hasRoom(size: number): boolean {
    return this.#gaps.some(({ start, end }) => end - start >= size);
  }

  free(at: number): void {
    const size = this.#sizes.get(at);
    if (size === undefined) throw new Error(`nothing is allocated at ${at}`);
    this.#sizes.delete(at);
    this.#used -= size;
    this.#release(at, at + size);
  }

  #release(start: number, end: number): void {
    let i = this.#gaps.findIndex((gap) => gap.start >= start);
    if (i === -1) i = this.#gaps.length;
    const before = this.#gaps[i - 1];
    const after = this.#gaps[i];
    if (before?.end === start) {
      before.end = end;
      if (after?.start === end) {
        before.end = after.end;
        this.#gaps.splice(i, 1);
      }
    } else if (after?.start === end) after.start = start;
    else this.#gaps.splice(i, 0, { start, end });
  }
}
