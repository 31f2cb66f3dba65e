// The WebGPU backend: records operations and submits them at the next read. What it keeps is holdings.ts's, what becomes of
// operations planner.ts's, the arithmetic is in shaders/.
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
import type { Sampling } from "../sampling.ts";
import type { Core } from "./core.ts";
import type { OpenDevice } from "./device.ts";
import { type Dispatch, DispatchList } from "./dispatch-list.ts";
import { GpuGradients } from "./gradients.ts";
import { Holdings } from "./holdings.ts";
import { BufferSource } from "./memory.ts";
import type { Operation } from "./operations.ts";
import { Pipelines } from "./pipelines.ts";
import { Planner } from "./planner.ts";
import { Recorder } from "./recorder.ts";
import { GpuSampling } from "./sampling.ts";
import { Scratch } from "./scratch.ts";
import { type ReadBack, Submitter } from "./submitter.ts";

/** Of a workgroup, unless told otherwise: whole subgroups on every GPU, and several workgroups at a time. */
const THREADS = 64;

export interface GpuOptions {
  /** Of a workgroup: 32, 64 or 128. Default 64. */
  readonly threads?: number | undefined;
  /** Matrices get their place, but are not read: for plans. */
  readonly weightless?: boolean | undefined;
}

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
  readonly #holdings: Holdings;
  readonly #pipelines: Pipelines;
  readonly #submitter: Submitter;
  readonly #list = new DispatchList();
  readonly #scratch: Scratch;
  readonly #planner: Planner;
  readonly #recorder: Recorder;
  /** Told of every submission: for counting. */
  onSubmit: ((dispatches: readonly Dispatch[]) => void) | undefined;
  #ops: Operation[] = [];
  #failure: TureenError | undefined;
  #disposed = false;

  constructor({ device, description, packedDot }: OpenDevice, options: GpuOptions = {}) {
    const { threads = THREADS, weightless = false } = options;
    const subgroups = device.features.has("subgroups" as GPUFeatureName);
    this.build = `${description || "unnamed GPU"}${subgroups ? ", subgroups" : ""}`;
    this.#device = device;
    this.#source = new BufferSource(device);
    this.#pipelines = new Pipelines(device, {
      subgroups,
      packedDot,
      threads,
      // says more than what the device says of the same
      fail: (error) => {
        if (error instanceof TureenError) this.#failure = error;
      },
    });
    const keeper = {
      threads,
      check: () => this.#check(),
      flush: () => void this.#flush(),
      forget: () => this.#submitter.forget(),
    };
    this.#holdings = new Holdings(this.#source, this.#pipelines, keeper, weightless);
    const { handles, memory } = this.#holdings;
    this.#submitter = new Submitter(device, this.#pipelines, memory);
    this.#scratch = new Scratch(memory);
    this.#planner = new Planner(this.#list, this.#scratch, threads);
    const core: Core = {
      threads,
      handles,
      memory,
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
      weights: this.#holdings.slabs.used,
      activations: this.#holdings.memory.used,
      caches: this.#holdings.caches.size,
      pipelines: this.#pipelines.count,
      submissions: this.#submitter.submissions,
    };
  }

  // ---- weights and buffers

  loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix> {
    return this.#holdings.loadMatrix(source, type);
  }

  replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void> {
    return this.#holdings.replaceMatrix(matrix, source);
  }

  loadVector(name: string, values: Float32Array): Vector {
    return this.#holdings.loadVector(name, values);
  }

  loadSegment(data: SegmentData, base: WeightType): Segment {
    return this.#holdings.loadSegment(data, base);
  }

  createTensor(rows: number, cols: number): Tensor {
    return this.#holdings.createTensor(rows, cols);
  }

  createKvCache(options: KvCacheOptions): KvCache {
    return this.#holdings.createKvCache(options);
  }

  createRope(options: RopeOptions): Rope {
    return this.#holdings.createRope(options);
  }

  /** After a failure nothing is left to give back. */
  free(handle: Handle): void {
    if (!this.#disposed && this.#failure === undefined) this.#holdings.free(handle);
  }

  // ---- operations

  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale = 1): void {
    this.#recorder.embed(out, table, ids, scale);
  }

  rmsNorm(
    out: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
    accumulate = false,
  ): void {
    this.#recorder.rmsNorm(out, x, weight, eps, n, accumulate);
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

  attention(out: Tensor, q: Tensor, layer: number, spans: readonly Span[], window?: number): void {
    this.#recorder.attention(out, q, layer, spans, window);
  }

  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#recorder.siluMul(out, gate, up, n, false);
  }

  geluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#recorder.siluMul(out, gate, up, n, true);
  }

  async read(x: Tensor, row: number, nRows: number, into?: Float32Array): Promise<Float32Array> {
    this.#check();
    const { at, cols, rows } = this.#holdings.handles.get(x);
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
    this.#ops = [];
    this.#submitter.destroy();
    this.#holdings.destroy();
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

  #fail(what: string, found: string): void {
    this.#failure ??= failure(what, found);
    this.#ops = [];
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
