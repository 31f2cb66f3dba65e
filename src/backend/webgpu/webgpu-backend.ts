// The WebGPU backend: owns the device's memory, records operations and submits them at the next read. What becomes of them is
// planner.ts's, the arithmetic is in shaders/.
import { TureenError } from "../../errors.ts";
import type {
  Backend,
  Handle,
  KvCache,
  KvCacheOptions,
  LinearOutput,
  Matrix,
  MatrixSource,
  Rope,
  RopeOptions,
  Segment,
  SegmentData,
  Span,
  Tensor,
  Vector,
  WeightType,
} from "../backend.ts";
import type { Gradients } from "../gradients.ts";
import { ropeFrequencies } from "../rope-frequencies.ts";
import type { Sampling } from "../sampling.ts";
import type { Core } from "./core.ts";
import type { OpenDevice } from "./device.ts";
import { type Dispatch, DispatchList } from "./dispatch-list.ts";
import { GpuGradients } from "./gradients.ts";
import { type GpuMatrix, type GpuVector, HandleRegistry } from "./handles.ts";
import { packedBytes, VEC4 } from "./layout.ts";
import { Bank, BufferSource, GPU_STORAGE, Heap, Slabs } from "./memory.ts";
import type { Operation } from "./operations.ts";
import { packRows } from "./pack.ts";
import { Pipelines } from "./pipelines.ts";
import { Planner } from "./planner.ts";
import { Recorder } from "./recorder.ts";
import { GpuSampling } from "./sampling.ts";
import { Scratch } from "./scratch.ts";
import { type ReadBack, Submitter } from "./submitter.ts";
import { checkFinite, WeightLoader } from "./weight-loader.ts";

const MIB = 2 ** 20;
/** Widest head that attention.wgsl takes. */
const MAX_HEAD_DIM = 128;

export interface GpuMemory {
  readonly weights: number;
  readonly activations: number;
  readonly caches: number;
  /** Compiled shaders. */
  readonly pipelines: number;
  readonly submissions: number;
}

export class WebGpuBackend implements Backend {
  readonly name = "webgpu";
  readonly build: string;
  readonly threads = 1;
  readonly sampling: Sampling;
  readonly gradients: Gradients;
  readonly #device: GPUDevice;
  readonly #source: BufferSource;
  readonly #memory: Heap;
  readonly #bank: Bank;
  readonly #slabs: Slabs;
  readonly #caches = new Set<GPUBuffer>();
  readonly #pipelines: Pipelines;
  readonly #submitter: Submitter;
  readonly #list = new DispatchList();
  readonly #scratch: Scratch;
  readonly #planner: Planner;
  readonly #handles = new HandleRegistry();
  readonly #loader: WeightLoader;
  readonly #recorder: Recorder;
  /** Told of every submission: for counting. */
  onSubmit: ((dispatches: readonly Dispatch[]) => void) | undefined;
  #ops: Operation[] = [];
  #failure: TureenError | undefined;
  #disposed = false;

  /** @param weightless matrices get their place, but are not read: for plans */
  constructor({ device, description, packedDot }: OpenDevice, weightless = false) {
    const subgroups = device.features.has("subgroups" as GPUFeatureName);
    this.build = `${description || "unnamed GPU"}${subgroups ? ", subgroups" : ""}`;
    this.#device = device;
    this.#source = new BufferSource(device);
    this.#memory = new Heap(this.#source, "activations", MIB);
    this.#bank = new Bank(this.#source);
    this.#slabs = new Slabs(this.#source, "weights");
    this.#pipelines = new Pipelines(device, { subgroups, packedDot });
    this.#submitter = new Submitter(device, this.#pipelines, this.#memory);
    this.#scratch = new Scratch(this.#memory);
    this.#planner = new Planner(this.#list, this.#scratch);
    this.#loader = new WeightLoader(this.#source, this.#slabs, weightless, () => {
      this.#check();
      this.#flush();
    });
    const core: Core = {
      handles: this.#handles,
      memory: this.#memory,
      scratch: this.#scratch,
      check: () => this.#check(),
      push: (op) => this.#ops.push(op),
      flush: () => this.#flush(),
      readBytes: (readBack, take) => this.#readBytes(readBack, take),
    };
    this.sampling = new GpuSampling(core);
    this.gradients = new GpuGradients(core);
    this.#recorder = new Recorder(core);
    device.addEventListener("uncapturederror", (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      this.#fail("the GPU refused a command", error.message);
    });
    void device.lost.then(({ reason, message }) => {
      if (!this.#disposed) this.#fail("the GPU was lost", `${reason}: ${message}`);
    });
  }

  /** What is allocated, in bytes, and what was done: for tests and for people who wonder. */
  get memory(): GpuMemory {
    return {
      weights: this.#slabs.used,
      activations: this.#memory.used,
      caches: [...this.#caches].reduce((sum, { size }) => sum + size, 0),
      pipelines: this.#pipelines.count,
      submissions: this.#submitter.submissions,
    };
  }

  // ---- weights and buffers

  async loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix> {
    this.#check();
    const { rows, cols } = source;
    await this.#pipelines.warmUp(type);
    const parts = await this.#loader.load(source, type);
    const nBytes = parts.reduce((sum, part) => sum + packedBytes(type, part.rows, cols), 0);
    return this.#handles.add({ kind: "matrix", rows, cols, type, nBytes, parts });
  }

  async replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void> {
    this.#check();
    const target = this.#handles.get(matrix);
    const { rows, cols, type } = target;
    if (source.rows !== rows || source.cols !== cols) {
      throw new Error(`matrix is [${rows}, ${cols}], source [${source.rows}, ${source.cols}]`);
    }
    // Packed aside first, so that a failure half-way leaves the old content.
    const parts = await this.#loader.load(source, type);
    this.#flush();
    this.#freeParts(target);
    target.parts = parts;
  }

  loadVector(name: string, values: Float32Array): Vector {
    this.#check();
    return this.#handles.add(this.#createVector(name, values));
  }

  loadSegment(data: SegmentData, base: WeightType): Segment {
    this.#check();
    const { name, rank, rows, cols } = data;
    const type = base === "f32" ? "f32" : "q8";
    checkFinite(`${name}.lora_A`, data.a, cols);
    checkFinite(`${name}.lora_B`, data.b, rank);
    const bias = data.bias && this.#createVector(`${name}.lora_B.bias`, data.bias);
    const heap = this.#bank.heapOf(name);
    const a = this.#packBank(heap, data.a, rank, cols, type);
    const b = this.#packBank(heap, data.b, rows, rank, type);
    const nBytes =
      packedBytes(type, rank, cols) + packedBytes(type, rows, rank) + (bias ? rows * 4 : 0);
    return this.#handles.add({ kind: "segment", rank, rows, cols, nBytes, type, heap, a, b, bias });
  }

  createTensor(rows: number, cols: number): Tensor {
    this.#check();
    const nBytes = rows * cols * 4;
    const at = this.#memory.allocate(nBytes, () => this.#flush());
    const tensor = this.#handles.add({ kind: "tensor" as const, rows, cols, at: at / 4 });
    return tensor;
  }

  /** Holds f32 for either type: a half is the least that `f16` promises. */
  createKvCache({ type = "f32", layers, kvHeads, headDim, length }: KvCacheOptions): KvCache {
    this.#check();
    if (headDim > MAX_HEAD_DIM) {
      throw new TureenError("MODEL_UNSUPPORTED", "the heads are too wide for the WebGPU backend", {
        expected: `at most ${MAX_HEAD_DIM}`,
        found: String(headDim),
        hint: "Use the wasm backend.",
      });
    }
    const size = 2 * 4 * kvHeads * headDim * length;
    const buffers: GPUBuffer[] = [];
    try {
      for (let layer = 0; layer < layers; layer++) {
        buffers.push(this.#source.create(`cache, layer ${layer}`, size, GPU_STORAGE));
      }
    } catch (error) {
      for (const buffer of buffers) buffer.destroy();
      throw error;
    }
    for (const buffer of buffers) this.#caches.add(buffer);
    const nBytes = size * layers;
    return this.#handles.add({
      kind: "kv-cache",
      type,
      layers,
      kvHeads,
      headDim,
      length,
      nBytes,
      buffers,
    });
  }

  createRope({ headDim, theta, scaling, length }: RopeOptions): Rope {
    this.#check();
    if (headDim % 2 !== 0) throw new Error(`headDim ${headDim} is odd`);
    const frequencies = ropeFrequencies(headDim, theta, scaling, Math.pow);
    const table = new Float32Array(length * headDim);
    for (let position = 0; position < length; position++) {
      for (let j = 0; j < headDim / 2; j++) {
        const angle = position * frequencies[j]!;
        table[position * headDim + 2 * j] = Math.cos(angle);
        table[position * headDim + 2 * j + 1] = Math.sin(angle);
      }
    }
    return this.#handles.add({ kind: "rope", headDim, length, at: this.#place(table) });
  }

  free(handle: Handle): void {
    if (this.#disposed) return;
    const owned = this.#handles.get(handle);
    this.#handles.delete(handle);
    if (this.#failure !== undefined) return; // nothing is left to give back
    switch (owned.kind) {
      case "matrix":
        this.#flush();
        this.#freeParts(owned);
        break;
      case "segment":
        owned.heap.free(owned.a * VEC4);
        owned.heap.free(owned.b * VEC4);
        if (owned.bias !== undefined) this.#memory.free(owned.bias.at * 4);
        break;
      case "kv-cache":
        this.#flush();
        this.#submitter.forget();
        for (const buffer of owned.buffers) {
          this.#caches.delete(buffer);
          buffer.destroy();
        }
        break;
      default:
        this.#memory.free(owned.at * 4);
    }
  }

  // ---- operations

  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>): void {
    this.#recorder.embed(out, table, ids);
  }

  rmsNorm(out: Tensor, x: Tensor, weight: Vector, eps: number, n: number): void {
    this.#recorder.rmsNorm(out, x, weight, eps, n);
  }

  linear(x: Tensor, n: number, outputs: readonly LinearOutput[], row = 0): void {
    this.#recorder.linear(x, n, outputs, row);
  }

  rope(x: Tensor, rope: Rope, spans: readonly Span[]): void {
    this.#recorder.rope(x, rope, spans);
  }

  writeKv(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void {
    this.#recorder.writeKv(layer, k, v, spans);
  }

  attention(out: Tensor, q: Tensor, layer: number, spans: readonly Span[]): void {
    this.#recorder.attention(out, q, layer, spans);
  }

  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#recorder.siluMul(out, gate, up, n);
  }

  async read(x: Tensor, row: number, nRows: number, into?: Float32Array): Promise<Float32Array> {
    this.#check();
    const { at, cols, rows } = this.#handles.get(x);
    if (row < 0 || row + nRows > rows)
      throw new Error(`rows ${row}..${row + nRows - 1} of ${rows}`);
    const size = nRows * cols;
    if (into !== undefined && into.length < size) {
      throw new Error(`${into.length} places for ${size} numbers`);
    }
    const result = into ?? new Float32Array(size);
    const readBack = { at: (at + row * cols) * 4, nBytes: size * 4 };
    await this.#readBytes(readBack, (bytes) => result.set(new Float32Array(bytes)));
    return result;
  }

  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#handles.clear();
    this.#ops = [];
    this.#release();
    this.#device.destroy();
  }

  // ---- inside

  /** Submits what is recorded; with `readBack` in the same submission. */
  #flush(readBack?: ReadBack): Promise<GPUBuffer> | undefined {
    const ops = this.#ops;
    this.#ops = [];
    this.#list.clear();
    this.#planner.plan(ops);
    this.onSubmit?.(this.#list.dispatches);
    const mapped = this.#submitter.submit(this.#list, readBack);
    this.#scratch.release();
    return mapped;
  }

  async #readBytes(readBack: ReadBack, take: (bytes: ArrayBuffer) => void): Promise<void> {
    if (readBack.nBytes === 0) return;
    const mapping = this.#flush(readBack)!;
    let staging: GPUBuffer;
    try {
      staging = await mapping;
    } catch (cause) {
      this.#check(); // a lost or disposed device says why
      throw failure("the GPU returned no data", String(cause), cause);
    }
    take(staging.getMappedRange(0, readBack.nBytes));
    this.#submitter.release(staging);
    await this.#source.settle();
    this.#check();
  }

  #freeParts({ parts }: GpuMatrix): void {
    this.#submitter.forget();
    for (const part of parts) this.#slabs.free(part);
  }

  /** @returns address in vec4 of the heap */
  #packBank(
    heap: Heap,
    values: Float32Array,
    rows: number,
    cols: number,
    type: WeightType,
  ): number {
    const at = heap.allocate(packedBytes(type, rows, cols), () => this.#flush());
    this.#flush();
    for (const { offset, bytes } of packRows(type, values, 0, rows, rows, cols)) {
      this.#device.queue.writeBuffer(heap.buffer, at + offset, bytes);
    }
    return at / VEC4;
  }

  #createVector(name: string, values: Float32Array): GpuVector {
    checkFinite(name, values, values.length);
    return { kind: "vector", length: values.length, at: this.#place(values) };
  }

  /** Puts numbers into the heap of activations. @returns their address in elements */
  #place(values: Float32Array): number {
    const at = this.#memory.allocate(values.byteLength, () => this.#flush());
    this.#flush();
    this.#device.queue.writeBuffer(this.#memory.buffer, at, values as Float32Array<ArrayBuffer>);
    return at / 4;
  }

  #fail(what: string, found: string): void {
    this.#failure ??= failure(what, found);
    this.#ops = [];
  }

  #release(): void {
    this.#submitter.destroy();
    this.#memory.destroy();
    this.#bank.destroy();
    this.#slabs.destroy();
    for (const buffer of this.#caches) buffer.destroy();
    this.#caches.clear();
  }

  #check(): void {
    if (this.#disposed) {
      throw new TureenError("DISPOSED", "the WebGPU backend was used after it was disposed");
    }
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function failure(what: string, found: string, cause?: unknown): TureenError {
  const hint = "Dispose the model and load it again, or use the wasm backend.";
  return new TureenError(
    "BACKEND_FAILED",
    what,
    { found, hint },
    cause === undefined ? {} : { cause },
  );
}
