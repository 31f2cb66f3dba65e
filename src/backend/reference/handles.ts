// What the reference backend's handles hold: plain arrays, in the layout of the formulas.
import type {
  KvCache,
  KvCacheType,
  Matrix,
  Rope,
  Segment,
  Tensor,
  Vector,
  WeightType,
} from "../backend.ts";
import { type QuantizedRows, quantizeRows } from "../quantize.ts";

/** Rows [rows, cols] as f32, row-major, or quantized. */
export type Rows = Float32Array | QuantizedRows;

export class ReferenceMatrix implements Matrix {
  readonly kind = "matrix";
  readonly rows: number;
  readonly cols: number;
  readonly type: WeightType;
  /** [rows, cols] */
  data: Rows;

  constructor(rows: number, cols: number, type: WeightType, data: Rows) {
    this.rows = rows;
    this.cols = cols;
    this.type = type;
    this.data = data;
  }

  get nBytes(): number {
    return rowsBytes(this.data);
  }
}

export class ReferenceVector implements Vector {
  readonly kind = "vector";
  readonly length: number;
  readonly data: Float32Array;

  constructor(data: Float32Array) {
    this.length = data.length;
    this.data = data;
  }
}

export class ReferenceTensor implements Tensor {
  readonly kind = "tensor";
  readonly rows: number;
  readonly cols: number;
  /** [rows, cols] */
  readonly data: Float32Array;

  constructor(rows: number, cols: number) {
    this.rows = rows;
    this.cols = cols;
    this.data = new Float32Array(rows * cols);
  }
}

export class ReferenceSegment implements Segment {
  readonly kind = "segment";
  readonly type: WeightType;
  readonly rank: number;
  readonly rows: number;
  readonly cols: number;
  /** [rank, cols], of the base's type */
  readonly a: Rows;
  /** [rows, rank], of the base's type */
  readonly b: Rows;
  /** [rows] */
  readonly bias: Float32Array | undefined;

  constructor(
    { rank, rows, cols }: { rank: number; rows: number; cols: number },
    type: WeightType,
    a: Rows,
    b: Rows,
    bias: Float32Array | undefined,
  ) {
    this.type = type;
    this.rank = rank;
    this.rows = rows;
    this.cols = cols;
    this.a = a;
    this.b = b;
    this.bias = bias;
  }

  get nBytes(): number {
    return rowsBytes(this.a) + rowsBytes(this.b) + (this.bias?.byteLength ?? 0);
  }
}

export class ReferenceKvCache implements KvCache {
  readonly kind = "kv-cache";
  readonly type: KvCacheType;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly length: number;
  /** Per layer [length, kvHeads × headDim] */
  readonly keys: readonly Float32Array[];
  /** Per layer [length, kvHeads × headDim] */
  readonly values: readonly Float32Array[];

  constructor(type: KvCacheType, layers: number, kvHeads: number, headDim: number, length: number) {
    this.type = type;
    this.layers = layers;
    this.kvHeads = kvHeads;
    this.headDim = headDim;
    this.length = length;
    const create = (): Float32Array => new Float32Array(length * kvHeads * headDim);
    this.keys = Array.from({ length: layers }, create);
    this.values = Array.from({ length: layers }, create);
  }

  get nBytes(): number {
    return 2 * 4 * this.layers * this.length * this.kvHeads * this.headDim;
  }
}

export class ReferenceRope implements Rope {
  readonly kind = "rope";
  readonly headDim: number;
  readonly length: number;
  /** cos and sin of position × frequency [length, headDim / 2] */
  readonly cos: Float32Array;
  readonly sin: Float32Array;

  constructor(headDim: number, length: number, frequencies: Float64Array) {
    this.headDim = headDim;
    this.length = length;
    const half = headDim / 2;
    this.cos = new Float32Array(length * half);
    this.sin = new Float32Array(length * half);
    for (let position = 0; position < length; position++) {
      for (let j = 0; j < half; j++) {
        const angle = position * frequencies[j]!;
        this.cos[position * half + j] = Math.cos(angle);
        this.sin[position * half + j] = Math.sin(angle);
      }
    }
  }
}

/** Holds f32 rows as `type`, copying them. */
export function packRows(values: Float32Array, rows: number, cols: number, type: WeightType): Rows {
  return type === "f32" ? values.slice() : quantizeRows(values, rows, cols, type);
}

function rowsBytes(rows: Rows): number {
  if (rows instanceof Float32Array) return rows.byteLength;
  return rows.q.byteLength + rows.d.byteLength + (rows.m?.byteLength ?? 0);
}
