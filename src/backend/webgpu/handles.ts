// Handles of the WebGPU backend: the contract's handles with the places behind them.
import type {
  Handle,
  KvCache,
  KvCacheType,
  Matrix,
  Rope,
  Segment,
  Tensor,
  Vector,
  WeightType,
} from "../backend.ts";
import type { Choice } from "../sampling.ts";
import type { Storage } from "./layout.ts";
import type { CachePlace, Heap, Place } from "./memory.ts";

/** Rows of a matrix that lie in one slab. */
export interface MatrixPart extends Place {
  readonly row0: number;
  readonly rows: number;
}

export interface GpuMatrix extends Matrix {
  nBytes: number;
  parts: readonly MatrixPart[];
  storage: Storage;
}

/** `at`: address in elements of the heap of activations. */
export interface GpuVector extends Vector {
  readonly at: number;
}

export interface GpuTensor extends Tensor {
  readonly at: number;
}

export interface GpuRope extends Rope {
  /** cos and sin [length, headDim / 2, 2] */
  readonly at: number;
}

export interface GpuChoice extends Choice {
  readonly at: number;
}

export interface GpuSegment extends Segment {
  readonly type: WeightType;
  readonly heap: Heap;
  /** A [rank, cols] and B [rows, rank], in vec4 of the heap. */
  readonly a: number;
  readonly b: number;
  readonly bias: GpuVector | undefined;
}

export interface GpuKvCache extends KvCache {
  readonly type: KvCacheType;
  /** Where each layer lies: keys, then values (lib/cache.wgsl). */
  readonly places: readonly CachePlace[];
}

export type GpuHandle =
  | GpuMatrix
  | GpuVector
  | GpuTensor
  | GpuSegment
  | GpuKvCache
  | GpuRope
  | GpuChoice;

/** Checks that handles are alive and of the backend they are given to. */
export class HandleRegistry {
  readonly #live = new Set<object>();

  add<H extends GpuHandle>(handle: H): H {
    this.#live.add(handle);
    return handle;
  }

  delete(handle: object): void {
    this.#live.delete(handle);
  }

  clear(): void {
    this.#live.clear();
  }

  /** @throws Error for a handle that was freed or made by another backend */
  get(handle: Matrix): GpuMatrix;
  get(handle: Vector): GpuVector;
  get(handle: Tensor): GpuTensor;
  get(handle: Segment): GpuSegment;
  get(handle: KvCache): GpuKvCache;
  get(handle: Rope): GpuRope;
  get(handle: Choice): GpuChoice;
  get(handle: Handle | Choice): GpuHandle;
  get(handle: Handle | Choice): GpuHandle {
    if (!this.#live.has(handle)) {
      throw new Error(`this ${handle.kind} was freed, or belongs to another backend`);
    }
    return handle as GpuHandle;
  }
}
