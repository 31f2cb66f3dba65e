// The product of a linear layer with its bank: y = W x + b + Σ m (B (A x) + c). The meaning of `Backend.linear`, one output
// row of one token at a time.
import {
  addBlockProducts,
  createQuantizedRows,
  type QuantizedRows,
  quantizeRow,
} from "../quantize.ts";
import type { ReferenceSegment, Rows } from "./handles.ts";

/** A segment with its number and its h = m (A x), already computed. */
interface Contribution {
  readonly segment: ReferenceSegment;
  readonly m: number;
  /** h [rank]; quantized where B is */
  readonly h: Rows;
}

/** One `LinearOutput` with its handles resolved. */
export interface LinearTask {
  /** [n, rows] */
  readonly out: Float32Array;
  readonly rows: number;
  readonly weight: Rows;
  /** [rows] */
  readonly bias: Float32Array | undefined;
  /** m of row i, rounded to f32 */
  readonly bank: readonly {
    readonly segment: ReferenceSegment;
    readonly m: (i: number) => number;
  }[];
  readonly accumulate: boolean;
}

/** Runs the tasks for the n rows of `x` [.., cols] that begin at `row`. */
export function linear(
  x: Float32Array,
  cols: number,
  row: number,
  n: number,
  tasks: readonly LinearTask[],
): void {
  for (let i = 0; i < n; i++) {
    const token = x.subarray((row + i) * cols, (row + i + 1) * cols);
    const quantized = createQuantizedRows(1, cols, "q8");
    if (tasks.some(({ weight }) => !(weight instanceof Float32Array))) {
      quantizeRow(quantized, 0, token);
    }
    for (const task of tasks) {
      const contributions = task.bank
        .map(({ segment, m }) => ({ segment, m: m(i) }))
        .filter(({ m }) => m !== 0)
        .map(({ segment, m }) => ({ segment, m, h: project(segment, m, token, quantized) }));
      const out = task.out.subarray(i * task.rows, (i + 1) * task.rows);
      if (task.weight instanceof Float32Array) linearF32(out, task, token, contributions);
      else linearQuantized(out, task, task.weight, quantized, contributions);
    }
  }
}

/** f32 weights: one f64 sum for each output, rounded once. */
function linearF32(
  out: Float32Array,
  { rows, weight, bias, accumulate }: LinearTask,
  x: Float32Array,
  contributions: readonly Contribution[],
): void {
  for (let o = 0; o < rows; o++) {
    let sum = accumulate ? out[o]! : 0;
    sum += dot(weight as Float32Array, o, x);
    if (bias !== undefined) sum += bias[o]!;
    for (const { segment, m, h } of contributions) {
      sum += dot(segment.b as Float32Array, o, h as Float32Array);
      if (segment.bias !== undefined) sum += m * segment.bias[o]!;
    }
    out[o] = sum;
  }
}

/** q8 and q4 weights: every step rounded to f32, in this order, so that other backends can give the same bits. */
function linearQuantized(
  out: Float32Array,
  { rows, bias, accumulate }: LinearTask,
  weight: QuantizedRows,
  x: QuantizedRows,
  contributions: readonly Contribution[],
): void {
  for (let o = 0; o < rows; o++) {
    let sum = addBlockProducts(0, weight, o, x, 0);
    if (bias !== undefined) sum = Math.fround(sum + bias[o]!);
    if (accumulate) sum = Math.fround(out[o]! + sum);
    for (const { segment, m, h } of contributions) {
      sum = addBlockProducts(sum, segment.b as QuantizedRows, o, h as QuantizedRows, 0);
      if (segment.bias !== undefined) {
        sum = Math.fround(sum + Math.fround(m * segment.bias[o]!));
      }
    }
    out[o] = sum;
  }
}

/** h = m (A x), f32 [rank]; for a quantized segment to int8 in blocks of 32 ranks. */
function project(
  segment: ReferenceSegment,
  m: number,
  x: Float32Array,
  quantized: QuantizedRows,
): Rows {
  const h = new Float32Array(segment.rank);
  for (let r = 0; r < segment.rank; r++) {
    const product =
      segment.a instanceof Float32Array
        ? dot(segment.a, r, x)
        : addBlockProducts(0, segment.a, r, quantized, 0);
    h[r] = m * product;
  }
  if (segment.b instanceof Float32Array) return h;
  const rows = createQuantizedRows(1, segment.rank, "q8");
  quantizeRow(rows, 0, h);
  return rows;
}

/** Row `row` of w [.., x.length] times x, in f64. */
function dot(w: Float32Array, row: number, x: Float32Array): number {
  const start = row * x.length;
  let sum = 0;
  for (let k = 0; k < x.length; k++) sum += w[start + k]! * x[k]!;
  return sum;
}
