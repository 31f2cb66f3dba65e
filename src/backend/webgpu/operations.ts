// What the backend records: the contract's operations with handles resolved and arguments captured.
import type {
  GpuChoice,
  GpuKvCache,
  GpuMatrix,
  GpuRope,
  GpuSegment,
  GpuTensor,
  GpuVector,
} from "./handles.ts";

/** A segment that adds something, with its numbers: one per row. */
export interface ActiveSegment {
  readonly segment: GpuSegment;
  readonly m: Float32Array;
}

export interface LinearProduct {
  readonly out: GpuTensor;
  readonly weight: GpuMatrix;
  readonly bias: GpuVector | undefined;
  readonly bank: readonly ActiveSegment[];
  readonly accumulate: boolean;
}

/** Rows of one sequence; `row` is the first of them in the call. */
export interface GpuSpan {
  readonly cache: GpuKvCache;
  readonly position: number;
  readonly n: number;
  readonly row: number;
}

export interface EmbedOp {
  readonly kind: "embed";
  readonly out: GpuTensor;
  readonly table: GpuMatrix;
  readonly n: number;
  readonly ids: Uint32Array | GpuChoice;
  readonly scale: number;
}

export interface RmsNormOp {
  readonly kind: "rmsNorm";
  readonly out: GpuTensor;
  readonly x: GpuTensor;
  readonly weight: GpuVector;
  readonly eps: number;
  readonly n: number;
  readonly accumulate: boolean;
}

/** Outputs whose weights are held alike. */
export interface LinearOp {
  readonly kind: "linear";
  readonly x: GpuTensor;
  readonly row: number;
  readonly n: number;
  readonly outputs: readonly LinearProduct[];
}

export interface RopeOp {
  readonly kind: "rope";
  readonly x: GpuTensor;
  readonly rope: GpuRope;
  readonly spans: readonly GpuSpan[];
  readonly backward: boolean;
}

export interface WriteKvOp {
  readonly kind: "writeKv";
  readonly layer: number;
  readonly k: GpuTensor;
  readonly v: GpuTensor;
  readonly spans: readonly GpuSpan[];
}

export interface AttentionOp {
  readonly kind: "attention";
  readonly out: GpuTensor;
  readonly q: GpuTensor;
  readonly layer: number;
  readonly spans: readonly GpuSpan[];
  readonly window: number;
}

/** `siluMul` or `geluMul` */
export interface SiluMulOp {
  readonly kind: "siluMul";
  readonly gelu: boolean;
  readonly out: GpuTensor;
  readonly gate: GpuTensor;
  readonly up: GpuTensor;
  readonly n: number;
}

/** One dispatch of a shader of its own, its parameters ready (floats are marked). */
export interface PlainOp {
  readonly kind: "plain";
  readonly shader: string;
  readonly groups: readonly [number, number, number];
  readonly params: readonly (number | { readonly f32: number })[];
  /** Numbers for `lists`; their address becomes the last parameter. */
  readonly list?: Uint32Array | undefined;
  readonly weights?: GPUBuffer | undefined;
  readonly bytes?: number;
}

export type Operation =
  | EmbedOp
  | RmsNormOp
  | LinearOp
  | RopeOp
  | WriteKvOp
  | AttentionOp
  | SiluMulOp
  | PlainOp;
