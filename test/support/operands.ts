// Puts numbers into a backend and takes them out again through its public contract alone.
import type {
  Backend,
  Handle,
  KvCache,
  Matrix,
  MatrixSource,
  Tensor,
  WeightType,
} from "../../src/backend/backend.ts";
import { type FloatDType, fromFloat32 } from "../../src/formats/float.ts";

/** A number that no operation produces, in the rows behind a result. */
export const GUARD: number = Math.fround(-12345.678);

/** Rows behind every result that must keep their guard. */
export const GUARD_ROWS = 2;

export function matrixSource(
  values: Float32Array,
  rows: number,
  cols: number,
  name = "test.weight",
): MatrixSource {
  return bytesSource(new Uint8Array(values.buffer, values.byteOffset), rows, cols, "F32", name);
}

export function bytesSource(
  bytes: Uint8Array,
  rows: number,
  cols: number,
  dtype: MatrixSource["dtype"],
  name = "test.weight",
): MatrixSource {
  const rowBytes = cols * (dtype === "F32" ? 4 : 2);
  return {
    name,
    rows,
    cols,
    dtype,
    read: async (start, n) => bytes.slice(start * rowBytes, (start + n) * rowBytes),
  };
}

/** One test's handles, freed together. */
export class Operands {
  readonly backend: Backend;
  readonly #handles: Handle[] = [];

  constructor(backend: Backend) {
    this.backend = backend;
  }

  keep<H extends Handle>(handle: H): H {
    this.#handles.push(handle);
    return handle;
  }

  async matrix(
    values: Float32Array,
    rows: number,
    cols: number,
    type: WeightType,
    /** Of the file that it comes from. */
    dtype: FloatDType = "F32",
  ): Promise<Matrix> {
    const source = bytesSource(fromFloat32(values, dtype), rows, cols, dtype);
    return this.keep(await this.backend.loadMatrix(source, type));
  }

  /** A tensor [n + GUARD_ROWS, cols] that holds `values`, then guards. The contract writes tensors only by operations. */
  async tensor(values: Float32Array, n: number, cols: number): Promise<Tensor> {
    const rows = n + GUARD_ROWS;
    const padded = new Float32Array(rows * cols).fill(GUARD);
    padded.set(values.subarray(0, n * cols));
    const table = await this.backend.loadMatrix(matrixSource(padded, rows, cols), "f32");
    const tensor = this.keep(this.backend.createTensor(rows, cols));
    const ids = Array.from({ length: rows }, (_, i) => i);
    this.backend.embed(tensor, table, ids);
    await this.backend.read(tensor, 0, 1);
    this.backend.free(table);
    return tensor;
  }

  /** All guards: a place for a result [n, cols]. */
  out(n: number, cols: number): Promise<Tensor> {
    return this.tensor(new Float32Array(n * cols).fill(GUARD), n, cols);
  }

  /** A small cache, for spans of operations that do not look at it. */
  noCache(): KvCache {
    const shape = { layers: 1, kvHeads: 1, headDim: 2, length: 1 };
    return this.keep(this.backend.createKvCache(shape));
  }

  /** The first n rows, after checking that the guards behind them stand. */
  async result(tensor: Tensor, n: number): Promise<Float32Array> {
    const all = await this.backend.read(tensor, 0, tensor.rows);
    const end = n * tensor.cols;
    const hit = all.subarray(end).findIndex((value) => value !== GUARD);
    if (hit !== -1) throw new Error(`number ${hit} behind the ${n} rows was overwritten`);
    return all.slice(0, end);
  }

  free(): void {
    for (const handle of this.#handles.splice(0)) this.backend.free(handle);
  }
}
