// What a model keeps on the GPU: weights, adapters, activations, caches. Handles are made and released here.
import { TureenError } from "../../errors.ts";
import type {
  Handle,
  KvCache,
  KvCacheOptions,
  Matrix,
  MatrixSource,
  Rope,
  RopeOptions,
  Segment,
  SegmentData,
  Tensor,
  Vector,
  WeightType,
} from "../backend.ts";
import { checkFinite } from "../check-finite.ts";
import { ropeFrequencies } from "../rope-frequencies.ts";
import { type GpuMatrix, type GpuVector, HandleRegistry } from "./handles.ts";
import { packedBytes, type Storage, VEC4 } from "./layout.ts";
import { Bank, type BufferSource, Caches, Heap, Slabs } from "./memory.ts";
import { packRows } from "./pack.ts";
import type { Pipelines } from "./pipelines.ts";
import { storageOf, WeightLoader } from "./weight-loader.ts";

const MIB = 2 ** 20;

/** Columns of a head that a thread of attention.wgsl can take; and what its workgroup memory holds of a head. */
const HEAD_COLUMNS = 4;
const MAX_HEAD_DIM = 256;

/** What the backend does for its holdings. */
export interface Keeper {
  /** Of a workgroup. */
  readonly threads: number;
  /** @throws TureenError if the backend is dead */
  check(): void;
  /** Submits what is recorded, since it may use what is about to change. */
  flush(): void;
  /** Buffers are about to go. */
  forget(): void;
}

export class Holdings {
  readonly handles: HandleRegistry = new HandleRegistry();
  /** Activations, and small weights. */
  readonly memory: Heap;
  readonly slabs: Slabs;
  readonly caches: Caches;
  readonly #source: BufferSource;
  readonly #bank: Bank;
  readonly #pipelines: Pipelines;
  readonly #loader: WeightLoader;
  readonly #keeper: Keeper;

  /** @param weightless matrices get their place, but are not read: for plans */
  constructor(source: BufferSource, pipelines: Pipelines, keeper: Keeper, weightless: boolean) {
    this.#source = source;
    this.#pipelines = pipelines;
    this.#keeper = keeper;
    this.memory = new Heap(source, "activations", MIB);
    this.slabs = new Slabs(source, "weights");
    this.caches = new Caches(source);
    this.#bank = new Bank(source);
    this.#loader = new WeightLoader(source, this.slabs, weightless, () => {
      keeper.check();
      keeper.flush();
    });
  }

  async loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix> {
    this.#keeper.check();
    const { rows, cols } = source;
    const content = await this.#load(source, type);
    return this.handles.add({ kind: "matrix", rows, cols, type, ...content });
  }

  async replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void> {
    this.#keeper.check();
    const target = this.handles.get(matrix);
    const { rows, cols, type } = target;
    if (source.rows !== rows || source.cols !== cols) {
      throw new Error(`matrix is [${rows}, ${cols}], source [${source.rows}, ${source.cols}]`);
    }
    // Packed aside first, so that a failure half-way leaves the old content.
    const content = await this.#load(source, type);
    this.#keeper.flush();
    this.#freeParts(target);
    Object.assign(target, content);
  }

  loadVector(name: string, values: Float32Array): Vector {
    this.#keeper.check();
    return this.handles.add(this.#createVector(name, values));
  }

  loadSegment(data: SegmentData, type: WeightType): Segment {
    this.#keeper.check();
    const { name, rank, rows, cols } = data;
    checkFinite(`${name}.lora_A`, data.a, cols);
    checkFinite(`${name}.lora_B`, data.b, rank);
    const bias = data.bias && this.#createVector(`${name}.lora_B.bias`, data.bias);
    const heap = this.#bank.heapOf(name);
    const a = this.#packBank(heap, data.a, rank, cols, type);
    const b = this.#packBank(heap, data.b, rows, rank, type);
    const nBytes =
      packedBytes(type, rank, cols) + packedBytes(type, rows, rank) + (bias ? rows * 4 : 0);
    return this.handles.add({ kind: "segment", rank, rows, cols, nBytes, type, heap, a, b, bias });
  }

  createTensor(rows: number, cols: number): Tensor {
    this.#keeper.check();
    const nBytes = rows * cols * 4;
    const at = this.memory.allocate(nBytes, () => this.#keeper.flush());
    const tensor = this.handles.add({ kind: "tensor" as const, rows, cols, at: at / 4 });
    return tensor;
  }

  createKvCache({ type = "f32", layers, kvHeads, headDim, length }: KvCacheOptions): KvCache {
    this.#keeper.check();
    if (headDim % 2 !== 0) throw new Error(`headDim ${headDim} is odd`);
    this.#checkHead(headDim);
    const size = 2 * (type === "f16" ? 2 : 4) * kvHeads * headDim * length;
    const places = this.caches.allocate(layers, size, () => this.#keeper.flush());
    this.#keeper.forget();
    this.#pipelines.warmUpCache(headDim, type);
    const shape = { type, layers, kvHeads, headDim, length };
    return this.handles.add({ kind: "kv-cache", ...shape, nBytes: size * layers, places });
  }

  createRope({ headDim, theta, scaling, length }: RopeOptions): Rope {
    this.#keeper.check();
    if (headDim % 2 !== 0) throw new Error(`headDim ${headDim} is odd`);
    this.#checkHead(headDim);
    this.#pipelines.warmUpCache(headDim, "f32");
    const frequencies = ropeFrequencies(headDim, theta, scaling, Math.pow);
    const table = new Float32Array(length * headDim);
    for (let position = 0; position < length; position++) {
      for (let j = 0; j < headDim / 2; j++) {
        const angle = position * frequencies[j]!;
        table[position * headDim + 2 * j] = Math.cos(angle);
        table[position * headDim + 2 * j + 1] = Math.sin(angle);
      }
    }
    return this.handles.add({ kind: "rope", headDim, length, at: this.#place(table) });
  }

  free(handle: Handle): void {
    const owned = this.handles.get(handle);
    this.handles.delete(handle);
    switch (owned.kind) {
      case "matrix":
        this.#keeper.flush();
        this.#freeParts(owned);
        break;
      case "segment":
        owned.heap.free(owned.a * VEC4);
        owned.heap.free(owned.b * VEC4);
        if (owned.bias !== undefined) this.memory.free(owned.bias.at * 4);
        break;
      case "kv-cache":
        this.#keeper.flush();
        this.#keeper.forget();
        this.caches.free(owned.places);
        break;
      default:
        this.memory.free(owned.at * 4);
    }
  }

  destroy(): void {
    this.handles.clear();
    this.memory.destroy();
    this.#bank.destroy();
    this.slabs.destroy();
    this.caches.destroy();
  }

  async #load(
    source: MatrixSource,
    type: WeightType,
  ): Promise<Pick<GpuMatrix, "parts" | "storage" | "nBytes">> {
    const storage: Storage = storageOf(source, type);
    await this.#pipelines.warmUp(storage);
    const parts = await this.#loader.load(source, storage);
    const bytes = parts.map(({ rows }) => packedBytes(storage, rows, source.cols));
    return { parts, storage, nBytes: bytes.reduce((sum, size) => sum + size, 0) };
  }

  #freeParts({ parts }: GpuMatrix): void {
    this.#keeper.forget();
    for (const part of parts) this.slabs.free(part);
  }

  #checkHead(headDim: number): void {
    const most = Math.min(MAX_HEAD_DIM, HEAD_COLUMNS * this.#keeper.threads);
    if (headDim <= most) return;
    throw new TureenError("MODEL_UNSUPPORTED", "the heads are too wide for the WebGPU backend", {
      expected: `at most ${most}`,
      found: String(headDim),
      hint: "Use the wasm backend.",
    });
  }

  /** @returns address in vec4 of the heap */
  #packBank(
    heap: Heap,
    values: Float32Array,
    rows: number,
    cols: number,
    type: WeightType,
  ): number {
    const at = heap.allocate(packedBytes(type, rows, cols), () => this.#keeper.flush());
    this.#keeper.flush();
    for (const { offset, bytes } of packRows(type, values, 0, rows, rows, cols)) {
      this.#source.device.queue.writeBuffer(heap.buffer, at + offset, bytes);
    }
    return at / VEC4;
  }

  #createVector(name: string, values: Float32Array): GpuVector {
    checkFinite(name, values, values.length);
    return { kind: "vector", length: values.length, at: this.#place(values) };
  }

  /** Puts numbers into the heap of activations. @returns their address in elements */
  #place(values: Float32Array): number {
    const at = this.memory.allocate(values.byteLength, () => this.#keeper.flush());
    this.#keeper.flush();
    this.#source.device.queue.writeBuffer(
      this.memory.buffer,
      at,
      values as Float32Array<ArrayBuffer>,
    );
    return at / 4;
  }
}
