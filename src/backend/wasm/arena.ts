// The wasm backend's memory: a first-fit allocator over one WebAssembly.Memory that grows on demand. It knows nothing of what
// it holds.
import { TureenError } from "../../errors.ts";
import { align } from "./layout.ts";

const PAGE = 65536;
/**
 * Memory grows by a quarter, within these bounds: hosts count each growth as so much garbage again, and collect. What is not used
 * is not resident.
 */
const MIN_GROWTH = 1 << 20;
const MAX_GROWTH = 32 << 20;

interface Span {
  offset: number;
  nBytes: number;
}

export class Arena {
  readonly memory: WebAssembly.Memory;
  /** Views of the whole memory; valid until the next `allocate`. */
  u8!: Uint8Array;
  i32!: Int32Array;
  f32!: Float32Array;
  /** Free spans in address order, none adjacent. */
  readonly #free: Span[] = [];
  readonly #used: Map<number, number> = new Map();
  #end: number;

  /** @param base first byte that may be handed out */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory;
    this.#end = align(base);
    this.#renewViews();
  }

  /** Returns the offset of `nBytes` bytes on cache lines that nothing else shares, content unspecified. @throws TureenError `OUT_OF_MEMORY` */
  allocate(nBytes: number): number {
    const size = align(Math.max(nBytes, 1));
    const index = this.#free.findIndex((span) => span.nBytes >= size);
    let offset: number;
    if (index >= 0) {
      const span = this.#free[index] as Span;
      offset = span.offset;
      span.offset += size;
      span.nBytes -= size;
      if (span.nBytes === 0) this.#free.splice(index, 1);
    } else {
      offset = this.#extend(size);
    }
    this.#used.set(offset, size);
    return offset;
  }

  free(offset: number): void {
    const nBytes = this.#used.get(offset);
    if (nBytes === undefined) throw new Error(`offset ${offset} was not allocated`);
    this.#used.delete(offset);
    let index = this.#free.findIndex((span) => span.offset > offset);
    if (index < 0) index = this.#free.length;
    this.#free.splice(index, 0, { offset, nBytes });
    this.#join(index);
    if (index > 0) this.#join(index - 1);
    const last = this.#free.at(-1);
    if (last !== undefined && last.offset + last.nBytes === this.#end) {
      this.#end = last.offset;
      this.#free.pop();
    }
  }

  /** Grows memory so that allocations of so many bytes in all need not. @throws TureenError `OUT_OF_MEMORY` */
  reserve(nBytes: number): void {
    this.#end = this.#extend(nBytes);
  }

  #renewViews(): void {
    const { buffer } = this.memory;
    this.u8 = new Uint8Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f32 = new Float32Array(buffer);
  }

  #extend(size: number): number {
    const offset = this.#end;
    const missing = offset + size - this.memory.buffer.byteLength;
    if (missing > 0) {
      try {
        this.#grow(missing);
        this.#renewViews();
      } catch (cause) {
        throw new TureenError(
          "OUT_OF_MEMORY",
          "WebAssembly memory cannot grow",
          {
            expected: `${mebibytes(size)} more`,
            found: `${mebibytes(this.memory.buffer.byteLength)} in use of at most 4096 MiB`,
            hint: 'Use quantize: "q8" or "q4", a shorter contextLength, or fewer adapters.',
          },
          { cause },
        );
      }
    }
    this.#end = offset + size;
    return offset;
  }

  /** @throws RangeError */
  #grow(missing: number): void {
    const { byteLength } = this.memory.buffer;
    const room = 65536 * PAGE - byteLength;
    if (missing > room) throw new RangeError("beyond 4 GiB");
    const step = Math.min(Math.max(byteLength / 4, MIN_GROWTH), MAX_GROWTH);
    try {
      this.memory.grow(Math.ceil(Math.min(Math.max(missing, step), room) / PAGE));
    } catch {
      this.memory.grow(Math.ceil(missing / PAGE));
    }
  }

  /** Joins span `index` with the next one if they touch. */
  #join(index: number): void {
    const span = this.#free[index];
    const next = this.#free[index + 1];
    if (span && next && span.offset + span.nBytes === next.offset) {
      span.nBytes += next.nBytes;
      this.#free.splice(index + 1, 1);
    }
  }
}

function mebibytes(nBytes: number): string {
  return `${(nBytes / 2 ** 20).toFixed(1)} MiB`;
}
