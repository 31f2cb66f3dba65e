// The reference backend: plain TypeScript that defines the meaning of every operation. f32 storage, f64 sums, no speed.
// Operations run when they are called.
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
import { checkFinite } from "../check-finite.ts";
import type { Gradients } from "../gradients.ts";
import { roundToHalf } from "../half.ts";
import { dequantize } from "../quantize.ts";
import { ropeFrequencies } from "../rope-frequencies.ts";
import type { Sampling } from "../sampling.ts";
import { allocate } from "./allocate.ts";
import { attend, rotate } from "./attention.ts";
import { check, checkPositions, checkRows, countRows, isSize } from "./checks.ts";
import { geluArgument } from "./gradient-formulas.ts";
import { createReferenceGradients } from "./gradients.ts";
import {
  packRows,
  ReferenceKvCache,
  ReferenceMatrix,
  ReferenceRope,
  ReferenceSegment,
  ReferenceTensor,
  ReferenceVector,
} from "./handles.ts";
import { linear } from "./linear.ts";
import { readMatrix } from "./read-matrix.ts";
import { createReferenceSampling } from "./sampling.ts";

/** Creates the backend that is slow and obvious; it runs on every host. */
export function createReferenceBackend(): Backend {
  return new ReferenceBackend();
}

class ReferenceBackend implements Backend {
  readonly name = "reference";
  readonly build = "typescript";
  readonly threads = 1;
  readonly hasEqualRows = true;
  readonly gradients: Gradients = createReferenceGradients((handle, type) =>
    this.#own(handle, type),
  );
  readonly sampling: Sampling = createReferenceSampling({
    rowsOf: (x, row, n) => {
      const { data, cols } = this.#ownRows("choose", "logits", x, row + n);
      return data.subarray(row * cols, (row + n) * cols);
    },
    embed: (out, table, ids, scale) => this.embed(out, table, ids, scale),
  });
  readonly #live = new Set<Handle>();
  #disposed = false;

  async loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix> {
    this.#checkDisposed();
    const { rows, cols } = source;
    check(isSize(rows) && isSize(cols), `loadMatrix: ${source.name} has shape [${rows}, ${cols}]`);
    const data = await readMatrix(source, type);
    return this.#keep(new ReferenceMatrix(rows, cols, type, data));
  }

  async replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void> {
    const target = this.#own(matrix, ReferenceMatrix);
    const { rows, cols } = source;
    check(
      rows === target.rows && cols === target.cols,
      `replaceMatrix: ${source.name} is [${rows}, ${cols}], not [${target.rows}, ${target.cols}]`,
    );
    const data = await readMatrix(source, target.type);
    this.#own(matrix, ReferenceMatrix).data = data;
  }

  loadVector(name: string, values: Float32Array): Vector {
    checkFinite(name, values, values.length);
    return this.#keep(new ReferenceVector(values.slice()));
  }

  loadSegment(segment: SegmentData, base: WeightType): Segment {
    const { name, rank, rows, cols, a, b, bias } = segment;
    check(isSize(rank) && isSize(rows) && isSize(cols), `loadSegment: ${name} has an empty shape`);
    check(a.length === rank * cols, `loadSegment: ${name}: A has ${a.length} numbers`);
    check(b.length === rows * rank, `loadSegment: ${name}: B has ${b.length} numbers`);
    check(
      (bias?.length ?? rows) === rows,
      `loadSegment: ${name}: bias has ${bias?.length} numbers`,
    );
    checkFinite(`${name} (A)`, a, cols);
    checkFinite(`${name} (B)`, b, rank);
    if (bias !== undefined) checkFinite(`${name} (bias)`, bias, rows);
    return this.#keep(
      new ReferenceSegment(
        segment,
        base,
        packRows(a, rank, cols, base),
        packRows(b, rows, rank, base),
        bias?.slice(),
      ),
    );
  }

  createTensor(rows: number, cols: number): Tensor {
    check(isSize(rows) && isSize(cols), `createTensor: shape [${rows}, ${cols}]`);
    return this.#keep(
      allocate(`activations [${rows}, ${cols}]`, () => new ReferenceTensor(rows, cols)),
    );
  }

  createKvCache({ type = "f32", layers, kvHeads, headDim, length }: KvCacheOptions): KvCache {
    check([layers, kvHeads, headDim, length].every(isSize), "createKvCache: an empty shape");
    const create = (): ReferenceKvCache =>
      new ReferenceKvCache(type, layers, kvHeads, headDim, length);
    return this.#keep(allocate(`a KV cache of ${length} positions`, create));
  }

  createRope({ headDim, theta, scaling, length }: RopeOptions): Rope {
    check(isSize(length), `createRope: length ${length}`);
    check(isSize(headDim) && headDim % 2 === 0, `createRope: headDim ${headDim} is not even`);
    const frequencies = ropeFrequencies(headDim, theta, scaling, Math.pow);
    const create = (): ReferenceRope => new ReferenceRope(headDim, length, frequencies);
    return this.#keep(allocate(`rotary tables of ${length} positions`, create));
  }

  free(handle: Handle): void {
    this.#own(handle, Object);
    this.#live.delete(handle);
  }

  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale = 1): void {
    const to = this.#own(out, ReferenceTensor);
    const { data, rows, cols } = this.#own(table, ReferenceMatrix);
    check(to.cols === cols, `embed: table has ${cols} columns, out ${to.cols}`);
    checkRows("embed", "out", to, ids.length);
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      check(Number.isInteger(id) && id >= 0 && id < rows, `embed: id ${id} outside 0..${rows - 1}`);
      for (let c = 0; c < cols; c++) {
        const value = data instanceof Float32Array ? data[id * cols + c]! : dequantize(data, id, c);
        to.data[i * cols + c] = Math.fround(value) * Math.fround(scale);
      }
    }
  }

  rmsNorm(
    out: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
    accumulate = false,
  ): void {
    const to = this.#own(out, ReferenceTensor);
    const { data, cols } = this.#ownRows("rmsNorm", "x", x, n);
    const { data: scale, length } = this.#own(weight, ReferenceVector);
    check(
      to.cols === cols && cols % length === 0,
      `rmsNorm: x ${cols}, out ${to.cols}, weight ${length}`,
    );
    checkRows("rmsNorm", "out", to, n);
    check(!accumulate || out !== x, "rmsNorm: out is x");
    for (let start = 0; start < n * cols; start += length) {
      let squares = 0;
      for (let c = 0; c < length; c++) squares += data[start + c]! ** 2;
      const norm = 1 / Math.sqrt(squares / length + eps);
      for (let c = 0; c < length; c++) {
        const value = data[start + c]! * norm * scale[c]!;
        to.data[start + c] = accumulate ? to.data[start + c]! + value : value;
      }
    }
  }

  linear(x: Tensor, n: number, outputs: readonly LinearOutput[], row = 0): void {
    const { data, cols } = this.#own(x, ReferenceTensor);
    check(Number.isInteger(row) && row >= 0, `linear: row ${row}`);
    checkRows("linear", "x", x, row + n);
    const tasks = outputs.map(({ out, weight, bias, bank, accumulate = false }) => {
      const to = this.#ownRows("linear", "out", out, n);
      const matrix = this.#own(weight, ReferenceMatrix);
      const { rows } = matrix;
      check(out !== x, "linear: out is x");
      check(matrix.cols === cols, `linear: weight has ${matrix.cols} columns, x ${cols}`);
      check(to.cols === rows, `linear: weight has ${rows} rows, out ${to.cols} columns`);
      check((bias?.length ?? rows) === rows, `linear: bias has ${bias?.length} of ${rows} numbers`);
      const resolved = bank.map(({ segment: handle, m }) => {
        const segment = this.#own(handle, ReferenceSegment);
        check(
          segment.rows === rows && segment.cols === cols,
          `linear: segment [${segment.rows}, ${segment.cols}] beside weight [${rows}, ${cols}]`,
        );
        check(
          segment.a instanceof Float32Array === (matrix.type === "f32"),
          `linear: segment was packed for another weight type than ${matrix.type}`,
        );
        check(
          typeof m === "number" || m.length >= n,
          `linear: m has ${typeof m === "number" ? 1 : m.length} numbers for ${n} rows`,
        );
        return {
          segment,
          m: (i: number): number => Math.fround(typeof m === "number" ? m : m[i]!),
        };
      });
      const addend = bias && this.#own(bias, ReferenceVector).data;
      return { out: to.data, rows, weight: matrix.data, bias: addend, bank: resolved, accumulate };
    });
    check(new Set(outputs.map(({ out }) => out)).size === tasks.length, "linear: outs overlap");
    linear(data, cols, row, n, tasks);
  }

  rope(x: Tensor, rope: Rope, spans: readonly Span[]): void {
    const { data, cols } = this.#ownRows("rope", "x", x, countRows("rope", spans));
    const tables = this.#own(rope, ReferenceRope);
    check(cols % tables.headDim === 0, `rope: ${cols} columns, heads of ${tables.headDim}`);
    for (const { position, n } of spans) checkPositions("rope", position, n, tables.length);
    let row = 0;
    for (const { position, n } of spans) {
      rotate(data.subarray(row * cols), cols, n, tables, position);
      row += n;
    }
  }

  writeKv(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void {
    const total = countRows("writeKv", spans);
    const keys = this.#ownRows("writeKv", "k", k, total);
    const values = this.#ownRows("writeKv", "v", v, total);
    const targets = spans.map((span) => this.#ownSpan("writeKv", layer, span));
    const { cols } = keys;
    for (const { kvHeads, headDim } of targets) {
      check(
        cols === kvHeads * headDim && values.cols === cols,
        `writeKv: k ${cols}, v ${values.cols}`,
      );
    }
    let row = 0;
    spans.forEach(({ position, n }, i) => {
      const rows = (x: Float32Array): Float32Array => {
        const exact = x.subarray(row * cols, (row + n) * cols);
        return targets[i]!.type === "f16" ? exact.map(roundToHalf) : exact;
      };
      targets[i]!.keys[layer]!.set(rows(keys.data), position * cols);
      targets[i]!.values[layer]!.set(rows(values.data), position * cols);
      row += n;
    });
  }

  attention(
    out: Tensor,
    q: Tensor,
    layer: number,
    spans: readonly Span[],
    window = Number.POSITIVE_INFINITY,
  ): void {
    const total = countRows("attention", spans);
    const to = this.#ownRows("attention", "out", out, total);
    const query = this.#ownRows("attention", "q", q, total);
    const { cols } = query;
    check(out !== q, "attention: out is q");
    check(window >= 1, `attention: a window of ${window}`);
    check(to.cols === cols, `attention: q has ${cols} columns, out ${to.cols}`);
    const caches = spans.map((span) => this.#ownSpan("attention", layer, span));
    for (const { kvHeads, headDim } of caches) {
      check(
        cols % (headDim * kvHeads) === 0,
        `attention: q has ${cols} columns for ${kvHeads} KV heads of ${headDim}`,
      );
    }
    let start = 0;
    spans.forEach(({ position, n }, i) => {
      const [rows, seen] = [to.data.subarray(start), query.data.subarray(start)];
      attend(rows, seen, cols, caches[i]!, layer, position, n, window);
      start += n * cols;
    });
  }

  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#gate("siluMul", out, gate, up, n, (z) => z / (1 + Math.exp(-z)));
  }

  geluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void {
    this.#gate("geluMul", out, gate, up, n, (z) => z / (1 + Math.exp(-2 * geluArgument(z))));
  }

  #gate(
    operation: string,
    out: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
    activate: (z: number) => number,
  ): void {
    const to = this.#ownRows(operation, "out", out, n);
    const z = this.#ownRows(operation, "gate", gate, n);
    const y = this.#ownRows(operation, "up", up, n);
    check(
      to.cols === z.cols && y.cols === z.cols,
      `${operation}: ${to.cols}, ${z.cols}, ${y.cols}`,
    );
    for (let i = 0; i < n * z.cols; i++) to.data[i] = activate(z.data[i]!) * y.data[i]!;
  }

  async read(x: Tensor, row: number, nRows: number, into?: Float32Array): Promise<Float32Array> {
    const { data, cols } = this.#own(x, ReferenceTensor);
    check(Number.isInteger(row) && row >= 0, `read: row ${row}`);
    checkRows("read", "x", x, row + nRows);
    const rows = data.subarray(row * cols, (row + nRows) * cols);
    if (into === undefined) return rows.slice();
    check(into.length >= rows.length, `read: ${into.length} places for ${rows.length} numbers`);
    into.set(rows);
    return into;
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#live.clear();
  }

  #keep<H extends Handle>(handle: H): H {
    this.#checkDisposed();
    this.#live.add(handle);
    return handle;
  }

  /** The handle, if it is this backend's and alive. */
  #own<H>(handle: Handle, type: new (...args: never[]) => H): H {
    this.#checkDisposed();
    check(handle instanceof type, `this ${handle.kind} belongs to another backend`);
    check(this.#live.has(handle), `this ${handle.kind} was freed, or belongs to another backend`);
    return handle as H;
  }

  #ownRows(operation: string, what: string, handle: Tensor, n: number): ReferenceTensor {
    const tensor = this.#own(handle, ReferenceTensor);
    checkRows(operation, what, tensor, n);
    return tensor;
  }

  /** A span's cache, if the layer and the positions are in it. */
  #ownSpan(operation: string, layer: number, { cache, position, n }: Span): ReferenceKvCache {
    const owned = this.#own(cache, ReferenceKvCache);
    check(owned.keys[layer] !== undefined, `${operation}: layer ${layer} of ${owned.layers}`);
    checkPositions(operation, position, n, owned.length);
    return owned;
  }

  #checkDisposed(): void {
    if (this.#disposed) throw new TureenError("DISPOSED", "the backend was disposed");
  }
}
