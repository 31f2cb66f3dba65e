// The wasm backend: owns the memory, records operations as commands and runs them on all threads at the next read. The
// arithmetic is in assembly/.
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
import { checkBlockType, isBlockDType } from "../block-rows.ts";
import type { Captures } from "../captures.ts";
import { checkFinite } from "../check-finite.ts";
import type { Gradients } from "../gradients.ts";
import type { Holding, Packing } from "../packing.ts";
import { ropeFrequencies } from "../rope-frequencies.ts";
import { Arena } from "./arena.ts";
import { AttentionRecorder } from "./attention-recorder.ts";
import type { Build } from "./builds.ts";
import { CaptureRecorder } from "./capture-recorder.ts";
import {
  requireHeads,
  requireId,
  requireNorms,
  requirePositions,
  requireRoom,
  requireRows,
  requireWindow,
} from "./checks.ts";
import { CommandList, Op } from "./commands.ts";
import { HandleRegistry, ownedOffsets, type WasmMatrix, type WasmVector } from "./handles.ts";
import { CONTROL_BYTES, type Kernels } from "./kernels.ts";
import { KEY_BLOCK, packedBytes, storageOf } from "./layout.ts";
import { LinearRecorder } from "./linear-recorder.ts";
import type { Recorder } from "./recorder.ts";
import { Scratch } from "./scratch.ts";
import type { ThreadPool } from "./thread-pool.ts";
import { recordRope, WasmGradients } from "./wasm-gradients.ts";
import { WasmPacking } from "./wasm-packing.ts";
import { WeightLoader } from "./weight-loader.ts";

export class WasmBackend implements Backend {
  readonly name = "wasm";
  readonly hasEqualRows = true;
  readonly build: Build;
  readonly threads: number;
  readonly gradients: Gradients;
  readonly packing: Packing;
  readonly captures: Captures;
  readonly #kernels: Kernels;
  readonly #arena: Arena;
  readonly #control: number;
  readonly #commands: CommandList;
  readonly #handles = new HandleRegistry();
  readonly #loader: WeightLoader;
  readonly #scratch: Scratch;
  readonly #linear: LinearRecorder;
  readonly #attention: AttentionRecorder;
  readonly #recorder: Recorder;
  #pool: ThreadPool | undefined;
  #state: "ready" | "failed" | "disposed" = "ready";

  /** @param startPool starts threads 1.. on the control block at an address */
  static async create(
    build: Build,
    threads: number,
    kernels: Kernels,
    memory: WebAssembly.Memory,
    startPool: (control: number) => Promise<ThreadPool | undefined>,
  ): Promise<WasmBackend> {
    const backend = new WasmBackend(build, threads, kernels, memory);
    backend.#pool = await startPool(backend.#control);
    return backend;
  }

  private constructor(build: Build, threads: number, kernels: Kernels, memory: WebAssembly.Memory) {
    this.build = build;
    this.threads = threads;
    this.#kernels = kernels;
    this.#arena = new Arena(memory, kernels.heap_base());
    this.#control = this.#arena.allocate(CONTROL_BYTES);
    this.#arena.u8.fill(0, this.#control, this.#control + CONTROL_BYTES);
    this.#commands = new CommandList(this.#arena, () => this.#run());
    this.#loader = new WeightLoader(this.#arena, this.#commands, threads, () => this.#run());
    this.#scratch = new Scratch(this.#arena, () => this.#run());
    const captures = new CaptureRecorder(this.#arena, this.#handles, this.#scratch, this.#commands);
    this.captures = captures;
    this.#recorder = {
      arena: this.#arena,
      handles: this.#handles,
      scratch: this.#scratch,
      commands: this.#commands,
      captures,
      threads,
      run: () => this.#run(),
    };
    this.#linear = new LinearRecorder(this.#recorder, build.startsWith("relaxed"));
    this.#attention = new AttentionRecorder(this.#recorder);
    this.gradients = new WasmGradients(this.#recorder);
    this.packing = new WasmPacking(
      this.#arena,
      this.#handles,
      build.startsWith("relaxed"),
      (rows, cols, holding) => this.#allocateMatrix(rows, cols, holding),
    );
  }

  // ---- weights and buffers

  async loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix> {
    this.#check();
    const { name, rows, cols, dtype } = source;
    if (isBlockDType(dtype)) checkBlockType(name, dtype, type);
    const matrix = this.#allocateMatrix(rows, cols, { type, dtype });
    try {
      await this.#loader.load(source, matrix.storage, matrix.offset);
    } catch (error) {
      this.#arena.free(matrix.offset);
      throw error;
    }
    return this.#handles.add(matrix);
  }

  async replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void> {
    this.#check();
    const old = this.#handles.get(matrix);
    const { rows, cols, type } = old;
    if (source.rows !== rows || source.cols !== cols) {
      throw new Error(`matrix is [${rows}, ${cols}], source [${source.rows}, ${source.cols}]`);
    }
    // Packed aside first, so that a failure half-way leaves the old content.
    const fresh = this.#allocateMatrix(rows, cols, { type, dtype: source.dtype });
    try {
      await this.#loader.load(source, fresh.storage, fresh.offset);
    } catch (error) {
      this.#arena.free(fresh.offset);
      throw error;
    }
    this.#run();
    this.#arena.free(old.offset);
    old.storage = fresh.storage;
    old.offset = fresh.offset;
    old.nBytes = fresh.nBytes;
    this.#handles.noteMove();
  }

  loadVector(name: string, values: Float32Array): Vector {
    this.#check();
    return this.#handles.add(this.#allocateVector(name, values));
  }

  loadSegment(data: SegmentData, type: WeightType): Segment {
    this.#check();
    const { name, rank, rows, cols } = data;
    const owned: number[] = [];
    try {
      const holding = { type, dtype: "F32" };
      const a = this.#allocateMatrix(rank, cols, holding);
      owned.push(a.offset);
      const b = this.#allocateMatrix(rows, rank, holding);
      owned.push(b.offset);
      this.#loader.loadValues(`${name}.lora_A`, data.a, rank, cols, type, a.offset);
      this.#loader.loadValues(`${name}.lora_B`, data.b, rows, rank, type, b.offset);
      const bias = data.bias && this.#allocateVector(`${name}.lora_B.bias`, data.bias);
      const nBytes = a.nBytes + b.nBytes + (bias ? rows * 4 : 0);
      return this.#handles.add({ kind: "segment", type, rank, rows, cols, nBytes, a, b, bias });
    } catch (error) {
      for (const offset of owned) this.#arena.free(offset);
      throw error;
    }
  }

  createTensor(rows: number, cols: number): Tensor {
    this.#check();
    // Kernels work in whole vectors; the last may reach past the end.
    const offset = this.#arena.allocate(rows * cols * 4 + 16);
    this.#arena.f32.fill(0, offset / 4, offset / 4 + rows * cols);
    return this.#handles.add({ kind: "tensor", rows, cols, offset });
  }

  createKvCache({ type = "f32", layers, kvHeads, headDim, length }: KvCacheOptions): KvCache {
    this.#check();
    const capacity = Math.ceil(length / KEY_BLOCK) * KEY_BLOCK;
    const size = type === "f32" ? 4 : 2;
    const layerKeys = kvHeads * capacity * headDim * size;
    const layerValues = kvHeads * capacity * Math.ceil(headDim / 8) * 8 * size;
    const keys = this.#arena.allocate(layers * layerKeys);
    let values: number;
    try {
      values = this.#arena.allocate(layers * layerValues);
    } catch (error) {
      this.#arena.free(keys);
      throw error;
    }
    const nBytes = layers * (layerKeys + layerValues);
    return this.#handles.add({
      kind: "kv-cache",
      type,
      layers,
      kvHeads,
      headDim,
      length,
      nBytes,
      keys,
      values,
      capacity,
      layerKeys,
      layerValues,
    });
  }

  createRope({ headDim, theta, scaling, length }: RopeOptions): Rope {
    this.#check();
    if (headDim % 2 !== 0) throw new Error(`headDim ${headDim} is odd`);
    const frequencies = ropeFrequencies(headDim, theta, scaling, this.#kernels.power);
    const offset = this.#arena.allocate(length * headDim * 4);
    const from = this.#arena.allocate(frequencies.byteLength);
    this.#arena.u8.set(new Uint8Array(frequencies.buffer), from);
    this.#kernels.fill_rope(offset, from, headDim / 2, length);
    this.#arena.free(from);
    return this.#handles.add({ kind: "rope", headDim, length, offset });
  }

  free(handle: Handle): void {
    if (this.#state === "disposed") return;
    const owned = ownedOffsets(this.#handles.get(handle));
    this.#run();
    this.#handles.delete(handle);
    for (const offset of owned) this.#arena.free(offset);
  }

  // ---- operations

  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale = 1): void {
    this.#check();
    const to = this.#handles.get(out);
    const { storage, offset, rows, cols } = this.#handles.get(table);
    requireRoom(out, ids.length, cols);
    // The ids of an earlier embed may not have been read yet.
    const at = this.#scratch.get("ids", ids.length * 4, { fresh: true });
    const { i32 } = this.#arena;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      requireId(id, rows);
      i32[at / 4 + i] = id;
      this.#recorder.captures.id(at / 4 + i);
    }
    this.#commands.push(Op.embed[storage], to.offset, offset, at, ids.length, cols);
    this.#commands.float(5, scale);
  }

  rmsNorm(
    out: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
    accumulate = false,
  ): void {
    this.#check();
    for (const tensor of [out, x]) requireRoom(tensor, n, x.cols);
    const rows = n * requireNorms(x.cols, weight.length);
    if (accumulate && out === x) throw new Error("out is x");
    const [to, from, by] = [this.#at(out), this.#at(x), this.#at(weight)];
    this.#commands.push(Op.rmsNorm, to, from, by, rows, weight.length, 0, Number(accumulate));
    this.#commands.float(5, eps);
  }

  linear(x: Tensor, n: number, outputs: readonly LinearOutput[], row = 0): void {
    this.#check();
    if (row < 0 || row + n > x.rows) throw new Error(`rows ${row}..${row + n - 1} of ${x.rows}`);
    this.#linear.record(x, n, outputs, row);
  }

  rope(x: Tensor, rope: Rope, spans: readonly Span[]): void {
    this.#check();
    requireRoom(x, requireRows(spans), x.cols);
    let row = 0;
    for (const { position, n } of spans) {
      recordRope(this.#recorder, x, row, n, rope, position, 1);
      this.#commands.joinNext();
      row += n;
    }
    this.#commands.meet();
  }

  writeKv(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void {
    this.#check();
    const rows = requireRows(spans);
    for (const { cache, position, n } of spans) {
      requirePositions(cache, layer, position, n);
      for (const tensor of [k, v]) requireRoom(tensor, rows, cache.kvHeads * cache.headDim);
    }
    this.#attention.write(layer, k, v, spans);
  }

  attention(out: Tensor, q: Tensor, layer: number, spans: readonly Span[], window?: number): void {
    this.#check();
    const rows = requireRows(spans);
    for (const tensor of [q, out]) requireRoom(tensor, rows, q.cols);
    for (const { cache, position, n } of spans) {
      requireHeads(q.cols, this.#handles.get(cache));
      requirePositions(cache, layer, position, n);
    }
    this.#attention.record(out, q, layer, spans, requireWindow(window));
  }

  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#gate(Op.siluMul, out, gate, up, n);
  }

  geluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#gate(Op.geluMul, out, gate, up, n);
  }

  #gate(op: number, out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#check();
    for (const tensor of [out, gate, up]) requireRoom(tensor, n, gate.cols);
    this.#commands.push(op, this.#at(out), this.#at(gate), this.#at(up), n * gate.cols);
  }

  async read(x: Tensor, row: number, nRows: number, into?: Float32Array): Promise<Float32Array> {
    const { offset, cols, rows } = this.#handles.get(x);
    if (row < 0 || row + nRows > rows)
      throw new Error(`rows ${row}..${row + nRows - 1} of ${rows}`);
    this.#check();
    this.#run();
    const start = offset / 4 + row * cols;
    const result = into ?? new Float32Array(nRows * cols);
    result.set(this.#arena.f32.subarray(start, start + nRows * cols));
    return result;
  }

  async dispose(): Promise<void> {
    if (this.#state === "disposed") return;
    this.#state = "disposed";
    if (this.threads > 1) this.#kernels.stop_workers(this.#control);
    this.#pool?.terminate();
  }

  // ---- inside

  #at(handle: Tensor | Vector): number {
    return this.#handles.get(handle as Tensor).offset;
  }

  #allocateMatrix(rows: number, cols: number, holding: Holding): WasmMatrix {
    const { type } = holding;
    const storage = storageOf(holding);
    const nBytes = packedBytes(storage, rows, cols);
    const offset = this.#arena.allocate(nBytes);
    return { kind: "matrix", rows, cols, type, storage, nBytes, offset };
  }

  #allocateVector(name: string, values: Float32Array): WasmVector {
    checkFinite(name, values, values.length);
    const offset = this.#arena.allocate(values.byteLength + 16);
    this.#arena.f32.set(values, offset / 4);
    return { kind: "vector", length: values.length, offset };
  }

  /** Runs what is recorded. */
  #run(): void {
    const { count } = this.#commands;
    if (count === 0) return;
    this.#commands.meet();
    this.#commands.clear();
    try {
      this.#kernels.submit(this.#commands.offset, count, this.#control, this.threads);
    } catch (cause) {
      this.#state = "failed";
      this.#pool?.terminate();
      throw new TureenError(
        "BACKEND_FAILED",
        "a kernel failed",
        { hint: "Dispose the model and load it again; please report this." },
        { cause },
      );
    }
  }

  #check(): void {
    if (this.#state === "ready") return;
    throw new TureenError(
      this.#state === "disposed" ? "DISPOSED" : "BACKEND_FAILED",
      `the wasm backend was used after it was ${this.#state === "disposed" ? "disposed" : "stopped by a failure"}`,
    );
  }
}
