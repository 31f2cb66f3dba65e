// GPU memory. A `Heap` is one buffer that grows, so that everything in it can be used by one dispatch: activations, and the bank
// of a decoder layer. `Slabs` are buffers that stay where they are: weights, which may be larger than any one binding.
import { TureenError } from "../../errors.ts";
import { Regions } from "./regions.ts";

const MIB = 2 ** 20;
/** Offsets of bindings and of vec4 loads. */
const ALIGN = 256;

/** Creates buffers and remembers what failed, since WebGPU says so later. */
export class BufferSource {
  readonly device: GPUDevice;
  /** Largest buffer that one binding reaches. */
  readonly limit: number;
  readonly #pending = new Set<Promise<void>>();
  #failure: TureenError | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    this.limit = Math.min(maxBufferSize, maxStorageBufferBindingSize);
  }

  /** @throws TureenError `OUT_OF_MEMORY` at once if it is too large, else from the next `settle` */
  create(label: string, size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    if (size > this.limit) throw outOfMemory(label, size, `one buffer holds at most ${this.limit}`);
    this.device.pushErrorScope("out-of-memory");
    const buffer = this.device.createBuffer({ label, size, usage });
    const checked = this.device.popErrorScope().then(
      (error) => {
        if (error !== null) this.#failure ??= outOfMemory(label, size, error.message);
      },
      () => undefined, // the device is lost, which others say
    );
    this.#pending.add(checked);
    void checked.then(() => this.#pending.delete(checked));
    return buffer;
  }

  /** Waits for what is being created. @throws TureenError `OUT_OF_MEMORY` once for what failed */
  async settle(): Promise<void> {
    if (this.#pending.size > 0) await Promise.all(this.#pending);
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }
}

function outOfMemory(label: string, size: number, found: string): TureenError {
  return new TureenError("OUT_OF_MEMORY", `the GPU has no memory for ${label}`, {
    expected: `${size} bytes`,
    found,
    hint: "Use q4 weights, a shorter contextLength, or the wasm backend.",
  });
}

/** One buffer; addresses are in bytes. Growing copies it, so a buffer must be asked for anew before each submission. */
export class Heap {
  readonly #source: BufferSource;
  readonly #label: string;
  readonly #growth: number;
  readonly #regions = new Regions(ALIGN);
  #buffer: GPUBuffer;

  /** @param growth how many times as large it becomes, if that is enough */
  constructor(source: BufferSource, label: string, size: number, growth = 2) {
    this.#source = source;
    this.#label = label;
    this.#growth = growth;
    this.#buffer = this.#create(size);
    this.#regions.grow(size);
  }

  get buffer(): GPUBuffer {
    return this.#buffer;
  }

  get used(): number {
    return this.#regions.used;
  }

  /** Whether there is room, or the buffer may still grow by so much. */
  canTake(nBytes: number): boolean {
    const most = Math.floor(this.#source.limit / ALIGN) * ALIGN;
    return this.#regions.hasRoom(nBytes) || this.#regions.capacity + nBytes <= most;
  }

  /**
   * @param flush submits what is recorded: it must run on the old buffer
   * @throws TureenError `OUT_OF_MEMORY`
   */
  allocate(nBytes: number, flush: () => void): number {
    const at = this.#regions.allocate(nBytes);
    if (at !== undefined) return at;
    const old = this.#regions.capacity;
    const wanted = old + Math.ceil(Math.max(nBytes, 1) / ALIGN) * ALIGN;
    const limit = Math.floor(this.#source.limit / ALIGN) * ALIGN;
    const size = Math.max(wanted, Math.min(this.#growth * old, limit));
    const buffer = this.#create(size);
    flush();
    const { device } = this.#source;
    const encoder = device.createCommandEncoder({ label: `grow ${this.#label}` });
    encoder.copyBufferToBuffer(this.#buffer, 0, buffer, 0, old);
    device.queue.submit([encoder.finish()]);
    this.#buffer.destroy();
    this.#buffer = buffer;
    this.#regions.grow(size);
    return this.#regions.allocate(nBytes)!;
  }

  free(at: number): void {
    this.#regions.free(at);
  }

  destroy(): void {
    this.#buffer.destroy();
  }

  #create(size: number): GPUBuffer {
    const usage = GPU_STORAGE | GPU_COPY_SRC | GPU_COPY_DST;
    return this.#source.create(this.#label, size, usage);
  }
}

/** Adapters of 16 times what one binding reaches; decoder layers take turns. */
const BANK_HEAPS = 16;

/**
 * The bank: segments of one decoder layer lie in one heap, since one dispatch reads those of several linear layers. A layer is
 * known by the number in the names of its modules.
 */
export class Bank {
  readonly #source: BufferSource;
  readonly #heaps: (Heap | undefined)[] = [];

  constructor(source: BufferSource) {
    this.#source = source;
  }

  heapOf(name: string): Heap {
    const layer = Number(/\.(\d+)\./.exec(name)?.[1] ?? 0);
    const index = layer % BANK_HEAPS;
    this.#heaps[index] ??= new Heap(this.#source, `adapters ${index}`, MIB / 4);
    return this.#heaps[index];
  }

  destroy(): void {
    for (const heap of this.#heaps) heap?.destroy();
  }
}

/** A layer of a cache. */
export interface CachePlace {
  readonly heap: Heap;
  /** In bytes. */
  readonly offset: number;
}

/**
 * KV caches: the same layer of all of them in one heap, as long as one binding reaches it, so that one dispatch serves many
 * sequences. A heap grows by what is asked for, and goes with the last cache in it.
 */
export class Caches {
  readonly #source: BufferSource;
  /** By layer. */
  readonly #heaps: Heap[][] = [];

  constructor(source: BufferSource) {
    this.#source = source;
  }

  /** In bytes. */
  get size(): number {
    return this.#heaps.flat().reduce((sum, { buffer }) => sum + buffer.size, 0);
  }

  /**
   * @param nBytes of one layer
   * @param flush submits what is recorded: it must run on the old buffers
   * @throws TureenError `OUT_OF_MEMORY`; nothing is left allocated
   */
  allocate(layers: number, nBytes: number, flush: () => void): CachePlace[] {
    const places: CachePlace[] = [];
    try {
      for (let layer = 0; layer < layers; layer++) {
        places.push(this.#place(layer, nBytes, flush));
      }
    } catch (error) {
      this.free(places);
      throw error;
    }
    return places;
  }

  free(places: readonly CachePlace[]): void {
    for (const [layer, { heap, offset }] of places.entries()) {
      heap.free(offset);
      if (heap.used > 0) continue;
      this.#heaps[layer] = this.#heaps[layer]!.filter((other) => other !== heap);
      heap.destroy();
    }
  }

  destroy(): void {
    for (const heap of this.#heaps.flat()) heap.destroy();
    this.#heaps.length = 0;
  }

  #place(layer: number, nBytes: number, flush: () => void): CachePlace {
    const heaps = this.#heaps[layer] ?? [];
    const free = heaps.find((heap) => heap.canTake(nBytes));
    if (free !== undefined) return { heap: free, offset: free.allocate(nBytes, flush) };
    const size = Math.ceil(nBytes / ALIGN) * ALIGN;
    const heap = new Heap(this.#source, `cache, layer ${layer}`, size, 1);
    this.#heaps[layer] = [...heaps, heap];
    return { heap, offset: heap.allocate(nBytes, flush) };
  }
}

/** Where something lies in a slab. */
export interface Place {
  readonly buffer: GPUBuffer;
  /** Bytes from the buffer's beginning. */
  readonly offset: number;
}

export class Slabs {
  readonly #source: BufferSource;
  readonly #label: string;
  readonly #slabs = new Map<GPUBuffer, Regions>();

  constructor(source: BufferSource, label: string) {
    this.#source = source;
    this.#label = label;
  }

  /** Largest thing that fits one slab, in bytes. */
  get limit(): number {
    return Math.floor(this.#source.limit / ALIGN) * ALIGN;
  }

  get used(): number {
    return [...this.#slabs.values()].reduce((sum, { used }) => sum + used, 0);
  }

  /**
   * @param room bytes that must be free there, so that what comes next can follow
   * @param beside the slab to try first, for what comes next
   * @throws TureenError `OUT_OF_MEMORY`
   */
  allocate(nBytes: number, room: number = nBytes, beside?: GPUBuffer): Place {
    const near = beside && this.#slabs.get(beside)?.allocate(nBytes);
    if (beside !== undefined && near !== undefined) return { buffer: beside, offset: near };
    const needed = room <= this.limit ? room : nBytes;
    for (const [buffer, regions] of this.#slabs) {
      const offset = regions.allocate(nBytes, needed);
      if (offset !== undefined) return { buffer, offset };
    }
    // Each a quarter of all before it: few for a large model, and little is left over.
    const total = [...this.#slabs.values()].reduce((sum, { capacity }) => sum + capacity, 0);
    const wanted = Math.max(needed, 8 * MIB, total / 4);
    const size = Math.min(Math.ceil(wanted / ALIGN) * ALIGN, this.limit);
    const label = `${this.#label} ${this.#slabs.size}`;
    const buffer = this.#source.create(label, size, GPU_STORAGE | GPU_COPY_DST | GPU_COPY_SRC);
    const regions = new Regions(ALIGN);
    regions.grow(size);
    this.#slabs.set(buffer, regions);
    return { buffer, offset: regions.allocate(nBytes)! };
  }

  free({ buffer, offset }: Place): void {
    const regions = this.#slabs.get(buffer);
    if (regions === undefined) return; // all was destroyed
    regions.free(offset);
    if (regions.used > 0) return;
    this.#slabs.delete(buffer);
    buffer.destroy();
  }

  destroy(): void {
    for (const buffer of this.#slabs.keys()) buffer.destroy();
    this.#slabs.clear();
  }
}

// GPUBufferUsage is a global of browsers, not of every host; the numbers are the specification's.
export const GPU_MAP_READ = 0x1;
export const GPU_COPY_SRC = 0x4;
export const GPU_COPY_DST = 0x8;
export const GPU_STORAGE = 0x80;
