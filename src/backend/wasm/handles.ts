// Handles of the wasm backend: the contract's handles with the addresses behind them.
import type {
  Handle,
  KvCache,
  KvCacheType,
  Matrix,
  Rope,
  Segment,
  Tensor,
  Vector,
} from "../backend.ts";
import type { Storage } from "./layout.ts";

/** Its storage, place and size change where new content (fold) is no longer of 16 bits. */
export interface WasmMatrix extends Matrix {
  storage: Storage;
  offset: number;
  nBytes: number;
}

export interface WasmVector extends Vector {
  readonly offset: number;
}

export interface WasmTensor extends Tensor {
  readonly offset: number;
}

export interface WasmSegment extends Segment {
  /** [rank, cols] */
  readonly a: WasmMatrix;
  /** [rows, rank] */
  readonly b: WasmMatrix;
  readonly bias: WasmVector | undefined;
}

export interface WasmKvCache extends KvCache {
  readonly type: KvCacheType;
  readonly keys: number;
  readonly values: number;
  /** `length` rounded up to whole blocks of positions. */
  readonly capacity: number;
  /** Bytes of one layer's keys and values. */
  readonly layerKeys: number;
  readonly layerValues: number;
}

export interface WasmRope extends Rope {
  readonly offset: number;
}

export type WasmHandle =
  | WasmMatrix
  | WasmVector
  | WasmTensor
  | WasmSegment
  | WasmKvCache
  | WasmRope;

/** Addresses that a handle owns. */
export function ownedOffsets(handle: WasmHandle): number[] {
  switch (handle.kind) {
    case "segment":
      return [handle.a, handle.b, ...(handle.bias ? [handle.bias] : [])].map(
        ({ offset }) => offset,
      );
    case "kv-cache":
      return [handle.keys, handle.values];
    default:
      return [handle.offset];
  }
}

/** A mark on each handle: a lookup in a set for every operand of every operation would cost more than recording it. */
const OWNER = Symbol("owner");

interface Owned {
  [OWNER]?: HandleRegistry | undefined;
}

/** Checks that handles are alive and of the backend they are given to. */
export class HandleRegistry {
  #changes = 0;

  /** What was alive is alive, and in its place, as long as this stays. */
  get changes(): number {
    return this.#changes;
  }

  /** To be called when a handle's memory moves. */
  noteMove(): void {
    this.#changes++;
  }

  add<H extends WasmHandle>(handle: H): H {
    (handle as Owned)[OWNER] = this;
    return handle;
  }

  delete(handle: Handle): void {
    (handle as Owned)[OWNER] = undefined;
    this.#changes++;
  }

  /** @throws Error for a handle that was freed or made by another backend */
  get(handle: Matrix): WasmMatrix;
  get(handle: Vector): WasmVector;
  get(handle: Tensor): WasmTensor;
  get(handle: Segment): WasmSegment;
  get(handle: KvCache): WasmKvCache;
  get(handle: Rope): WasmRope;
  get(handle: Handle): WasmHandle;
  get(handle: Handle): WasmHandle {
    if ((handle as Owned)[OWNER] !== this) {
      throw new Error(`this ${handle.kind} was freed, or belongs to another backend`);
    }
    return handle as WasmHandle;
  }
}
