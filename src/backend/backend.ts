// The contract between the decoder and whatever computes. A backend owns weights, activations and KV caches as opaque
// handles, and offers about a dozen operations on them. `reference/` defines what each operation means; every other
// backend is held to it by one conformance suite.
//
// Operations are *recorded*: they may run at once, or wait until the next `read`, as on a GPU. So arguments are captured
// when the method is called (ids, positions, bank weights), and results are visible only through `read`.
//
// Handles belong to the backend that made them. Memory is released by `free` and, all of it, by `dispose`.

import type { BlockDType } from "./block-rows.ts";
import type { Captures } from "./captures.ts";
import type { Gradients } from "./gradients.ts";
import type { Packing } from "./packing.ts";
import type { RopeScaling } from "./rope-frequencies.ts";
import type { Sampling } from "./sampling.ts";

/**
 * How a matrix is held and multiplied.
 * - `f32`: floats. A backend may hold what a file has in 16 bits so, as long as it computes the same.
 * - `q8`: blocks of 32 columns: int8 q in -127..127 and one f32 scale d. w = d q.
 * - `q4`: blocks of 32 columns: 4-bit q in 0..15, one scale d and one minimum m, both bf16. w = d q + m.
 *
 * For q8 and q4, activations are quantized per block of 32 to int8 as well, and each block's product is an exact integer
 * (see quantize.ts for the rounding).
 */
export type WeightType = "f32" | "q8" | "q4";

/** A weight matrix as it lies in a file: row-major, little-endian. Read once, in pieces of whole rows, in order. */
export interface MatrixSource {
  /** For messages: the tensor's name. */
  readonly name: string;
  /** Output features. */
  readonly rows: number;
  /** Input features. */
  readonly cols: number;
  /** Floats; or, for a matrix of type `q8` or `q4` alone, blocks that are packed as they are (block-rows.ts). */
  readonly dtype: "F32" | "F16" | "BF16" | BlockDType;
  /**
   * Rows as they lie in the file.
   * @param into memory for the result, which the source may use or not: free until the read ends
   */
  read(rowStart: number, nRows: number, into?: Uint8Array): Promise<Uint8Array>;
}

/** A packed weight matrix [rows, cols]. */
export interface Matrix {
  readonly kind: "matrix";
  readonly rows: number;
  readonly cols: number;
  readonly type: WeightType;
  /** As packed. */
  readonly nBytes: number;
}

/** A vector of f32 weights (norm weights, biases). */
export interface Vector {
  readonly kind: "vector";
  readonly length: number;
}

/** f32 activations [rows, cols]; rows are tokens. */
export interface Tensor {
  readonly kind: "tensor";
  readonly rows: number;
  readonly cols: number;
}

/** One adapter's slice of one linear layer's bank: A [rank, in], B [out, rank], and B's bias [out] if it has one. */
export interface Segment {
  readonly kind: "segment";
  /** Of the matrix that it lies beside. */
  readonly type: WeightType;
  readonly rank: number;
  readonly rows: number;
  readonly cols: number;
  readonly nBytes: number;
}

/** Data of a segment, f32 row-major. */
export interface SegmentData {
  /** For messages: the linear layer's name. */
  readonly name: string;
  readonly rank: number;
  /** Output features. */
  readonly rows: number;
  /** Input features. */
  readonly cols: number;
  /** A [rank, cols] */
  readonly a: Float32Array;
  /** B [rows, rank] */
  readonly b: Float32Array;
  /** [rows] */
  readonly bias?: Float32Array | undefined;
}

/**
 * A segment with its number m = soup weight × adapter scaling: one for all rows of a call, or in a batch of several soups one per
 * row. Read when an operation is called. Where m = 0 a segment adds nothing and costs nothing.
 */
export interface BankEntry {
  readonly segment: Segment;
  /** Per row: `m[i]` is row i's of the call; there may be more numbers than rows. */
  readonly m: number | ArrayLike<number>;
}

/** An entry with one number for all rows. Live: a soup rewrites it in place between operations. */
export interface SoupEntry extends BankEntry {
  m: number;
}

/** One product of a `linear` call: out = [out +] weight · x [+ bias] + Σ_entries m · (B (A x) + segment bias). */
export interface LinearOutput {
  /** [n, weight.rows] */
  readonly out: Tensor;
  readonly weight: Matrix;
  readonly bias?: Vector | undefined;
  /** Entries in load order; the order fixes the order of the sum. */
  readonly bank: readonly BankEntry[];
  /** Add to `out` (the residual) instead of overwriting it. Default false. */
  readonly accumulate?: boolean;
}

/** Keys and values of every position so far, for all layers. */
export interface KvCache {
  readonly kind: "kv-cache";
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions it can hold. */
  readonly length: number;
  readonly nBytes: number;
}

/**
 * Consecutive rows of a call that belong to one sequence: its tokens at `position`.. of its cache. The rows of a call are those
 * of its spans, in order. Spans may share a cache, at different positions.
 */
export interface Span {
  readonly cache: KvCache;
  readonly position: number;
  /** Rows, at least one. */
  readonly n: number;
}

/** Cosines and sines of rotary position embedding for positions 0..length-1. */
export interface Rope {
  readonly kind: "rope";
  readonly headDim: number;
  readonly length: number;
}

export interface RopeOptions {
  readonly headDim: number;
  readonly theta: number;
  readonly scaling: RopeScaling | undefined;
  readonly length: number;
}

/**
 * How a KV cache holds keys and values. `f16` takes half the memory and bandwidth; each value is rounded to the nearest half
 * (ties to even; beyond ±65504 the largest).
 */
export type KvCacheType = "f32" | "f16";

export interface KvCacheOptions {
  /** Default f32 */
  readonly type?: KvCacheType | undefined;
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly length: number;
}

export type Handle = Matrix | Vector | Tensor | Segment | KvCache | Rope;

export interface Backend {
  readonly name: "reference" | "wasm" | "webgpu";
  /** Which variant runs, e.g. `relaxed-threads`. */
  readonly build: string;
  readonly threads: number;
  /** Whether a row gets the same bits in a call of any number of rows; if not, nothing is computed ahead of its time. */
  readonly hasEqualRows?: boolean;

  /**
   * Reads, converts, packs.
   * @throws TureenError `WEIGHTS_NOT_FINITE`, `OUT_OF_MEMORY`; nothing is left allocated.
   */
  loadMatrix(source: MatrixSource, type: WeightType): Promise<Matrix>;
  /** Packs new content of the same shape into an existing matrix (fold and unfold). */
  replaceMatrix(matrix: Matrix, source: MatrixSource): Promise<void>;
  loadVector(name: string, values: Float32Array): Vector;
  /**
   * Packs a segment, held as its base matrix is. Beside q8 and q4: A with the base's blocks of 32 columns, B in blocks of 32
   * ranks (the last one shorter). h = m (A x) is quantized in the same blocks.
   * @throws TureenError `WEIGHTS_NOT_FINITE`, `OUT_OF_MEMORY`
   */
  loadSegment(data: SegmentData, base: WeightType): Segment;
  createTensor(rows: number, cols: number): Tensor;
  createKvCache(options: KvCacheOptions): KvCache;
  createRope(options: RopeOptions): Rope;
  free(handle: Handle): void;

  /** out[i] = scale · row ids[i] of the table, dequantized. Default scale 1 */
  embed(out: Tensor, table: Matrix, ids: ArrayLike<number>, scale?: number): void;
  /**
   * out = x / sqrt(mean(x²) + eps) ⊙ weight, over every `weight.length` columns by themselves: a row, or each head of it. First n
   * rows. `out` may be `x`. (arXiv 1910.07467, eq. 4)
   * @param accumulate adds to `out` (the residual) instead of overwriting it; `out` is not `x` then. Default false
   */
  rmsNorm(
    out: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
    accumulate?: boolean,
  ): void;
  /** Several products that share their input x (q, k and v; gate and up). First n rows from `row` of x, to rows 0..n-1 of outs. */
  linear(x: Tensor, n: number, outputs: readonly LinearOutput[], row?: number): void;
  /**
   * Rotates in place. x [rows, heads × headDim]; row i of a span stands at its `position + i`. Halves are rotated against each
   * other (Hugging Face's `rotate_half`): element j < headDim/2 pairs with j + headDim/2. (arXiv 2104.09864)
   */
  rope(x: Tensor, rope: Rope, spans: readonly Span[]): void;
  /** Stores k and v [rows, kvHeads × headDim] of one layer in each span's cache, at its `position`.. */
  writeKv(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void;
  /**
   * Causal attention with grouped heads: out, q [rows, heads × headDim]; row i of a span sees positions 0..position + i of its
   * cache. softmax(q kᵀ / sqrt(headDim)) v; query head h reads KV head floor(h · kvHeads / heads).
   * @param window how many of these positions a row sees, the last ones, itself among them. Default: all
   */
  attention(out: Tensor, q: Tensor, layer: number, spans: readonly Span[], window?: number): void;
  /** out = silu(gate) ⊙ up, silu(z) = z / (1 + e^-z). (arXiv 2002.05202, SwiGLU) `out` may be `gate`. */
  siluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void;
  /**
   * out = gelu(gate) ⊙ up, by the approximation gelu(z) = z/2 (1 + tanh u) = z / (1 + e^-2u), u = √(2/π) (z + 0.044715 z³).
   * (arXiv 1606.08415; GeGLU, arXiv 2002.05202) `out` may be `gate`.
   */
  geluMul(out: Tensor, gate: Tensor, up: Tensor, n: number): void;

  /** The backward pass, where the backend has one. */
  readonly gradients?: Gradients | undefined;

  /** Repeating what was recorded for one token, where that saves anything. */
  readonly captures?: Captures | undefined;

  /** Packed weights as bytes, to keep them. */
  readonly packing?: Packing | undefined;

  /** Choosing tokens where the logits are, where that saves anything. */
  readonly sampling?: Sampling | undefined;

  /** Runs all that is recorded and copies rows out, row-major [nRows, cols], into `into` if given. */
  read(x: Tensor, row: number, nRows: number, into?: Float32Array): Promise<Float32Array>;
  /**
   * After a failure: goes on elsewhere, where that was prepared. All handles stay; what tensors and caches held is lost.
   * @returns whether it does
   */
  recover?(): Promise<boolean>;
  /** Releases everything. Handles are dead afterwards. */
  dispose(): Promise<void>;
}
