// Recorded operations become dispatches. In decoding (one row), neighbours are fused: a norm into the product that reads it; the
// rest of a product's bank with norms of heads, rotary embedding and the cache, or with the gated activation; and what a product
// needs of its input (quantization, A x) into the pass that makes the input. Every fused dispatch also writes what the separate
// operations would have written, so nothing that can be seen changes.

import { specializeWeights } from "./compose.ts";
import { type DispatchList, NONE } from "./dispatch-list.ts";
import type { GpuTensor } from "./handles.ts";
import { bankType, isQuantized, packedBytes, planeSize, unitCount, VEC4 } from "./layout.ts";
import {
  aBytes,
  bBytes,
  type HRegion,
  heapOf,
  hStride,
  LinearPlanner,
  MATVEC_ROWS,
  NO_H,
  type PlacedSegment,
  placeSegments,
  storageOf,
  writeSegment,
} from "./linear-planner.ts";
import type { EmbedOp, LinearOp, Operation, PlainOp, RmsNormOp, SiluMulOp } from "./operations.ts";
import type { Scratch } from "./scratch.ts";
import {
  type Ahead,
  isOfHeads,
  matchTurn,
  rowsOf,
  SequencePlanner,
  type Turn,
} from "./sequence-planner.ts";

/** Columns of a thread of silu-mul.wgsl. */
const SILU_COLUMNS = 4;

export class Planner {
  readonly #list: DispatchList;
  readonly #scratch: Scratch;
  readonly #linear: LinearPlanner;
  readonly #sequences: SequencePlanner;
  readonly #threads: number;
  /** What has been prepared for a product further on. */
  #ahead: (Ahead & { op: LinearOp }) | undefined;

  /** @param threads of a workgroup */
  constructor(list: DispatchList, scratch: Scratch, threads: number) {
    this.#list = list;
    this.#scratch = scratch;
    this.#threads = threads;
    this.#linear = new LinearPlanner(list, scratch, threads);
    this.#sequences = new SequencePlanner(list, scratch, threads, (next, parts) =>
      this.#prepare(next, parts),
    );
  }

  plan(ops: readonly Operation[]): void {
    this.#ahead = undefined;
    for (let i = 0; i < ops.length; ) i += this.#step(ops, i);
  }

  /** Plans operation `i` and those that fuse with it. @returns how many */
  #step(ops: readonly Operation[], i: number): number {
    const op = ops[i]!;
    switch (op.kind) {
      case "embed":
        this.#embed(op);
        return 1;
      case "rmsNorm": {
        const turn = matchTurn(ops, i, this.#threads);
        if (turn !== undefined) return this.#turn(turn);
        const next = ops[i + 1];
        if (next?.kind === "linear" && canNorm(op, next)) {
          return 1 + this.#product(ops, i + 1, op);
        }
        const hasReader = op.n > 1 && !isOfHeads(op) && !op.accumulate;
        const reader = hasReader ? nextProduct(ops, i, op.out, op.n) : undefined;
        this.#rmsNorm(op, reader && this.#prepare(reader, 1));
        return 1;
      }
      case "linear":
        return this.#product(ops, i, undefined);
      case "rope":
      case "writeKv":
        return this.#turn(matchTurn(ops, i, this.#threads)!);
      case "attention":
        this.#sequences.attention(op, nextProduct(ops, i, op.out, rowsOf(op.spans)));
        return 1;
      case "siluMul":
        this.#siluMul(op, [], NO_H, nextProduct(ops, i, op.out, op.n));
        return 1;
      case "plain":
        this.#plain(op);
        return 1;
      default:
        return op satisfies never;
    }
  }

  #turn(turn: Turn): number {
    this.#sequences.turn(turn, [], NO_H);
    return turn.count;
  }

  #product(ops: readonly Operation[], i: number, norm: RmsNormOp | undefined): number {
    const op = ops[i] as LinearOp;
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead?.op === op) {
      this.#linear.plan(op, undefined, ahead.prepared, ahead.placed);
      return 1;
    }
    const hasBank = op.outputs.some(({ bank }) => bank.length > 0);
    if (op.n === 1 && hasBank) {
      const follower = ops[i + 1];
      const turn = matchTurn(ops, i + 1, this.#threads);
      if (turn !== undefined) {
        const tensors = turn.inputs.map(({ x }) => x);
        if (rowsOf(turn.spans) === 1 && coversBank(op, tensors) && turn.headDim % 2 === 0) {
          const placed = placeSegments(this.#list, op.outputs);
          const h = this.#linear.planDeferred(op, norm, placed);
          this.#sequences.turn(turn, moveOutputs(placed, op, tensors), h);
          return 1 + turn.count;
        }
      }
      if (follower?.kind === "siluMul" && follower.n === 1) {
        const tensors = [follower.gate, follower.up];
        if (follower.gate !== follower.up && coversBank(op, tensors)) {
          const placed = placeSegments(this.#list, op.outputs);
          const h = this.#linear.planDeferred(op, norm, placed);
          const next = nextProduct(ops, i + 1, follower.out, 1);
          this.#siluMul(follower, moveOutputs(placed, op, tensors), h, next);
          return 2;
        }
      }
    }
    this.#linear.plan(op, norm);
    return 1;
  }

  /** Lays out what a pass prepares for `next`: x, and for one row h in so many parts. */
  #prepare(next: LinearOp, parts: number): Ahead {
    const storage = storageOf(next);
    const placed = next.n === 1 ? placeSegments(this.#list, next.outputs) : [];
    const stride = hStride(placed);
    const units = next.n * unitCount(storage, next.x.cols);
    const x = this.#scratch.get("prepared x", units * (isQuantized(storage) ? 10 : 4));
    const h = { at: this.#scratch.get("prepared h", parts * stride), parts, stride };
    const ahead = { op: next, placed, prepared: { x, h } };
    this.#ahead = ahead;
    return ahead;
  }

  #embed({ out, table, n, ids, scale }: EmbedOp): void {
    const list = this.#list;
    const given = ids instanceof Uint32Array;
    const address = given ? list.list(ids) : ids.at;
    const { storage, cols } = table;
    for (const part of table.parts) {
      list.begin(out.at, address, given ? 0 : ids.k, cols, unitCount(storage, cols));
      list.float(scale);
      list.words(part.offset / VEC4, planeSize(storage, part.rows, cols), part.row0, part.rows);
      const bytes = n * packedBytes(storage, 1, cols);
      const groups = [Math.ceil(cols / this.#threads), n, 1] as const;
      list.end(specializeWeights("embed", storage), groups, { weights: part.buffer, bytes });
    }
  }

  #rmsNorm({ out, x, weight, eps, n, accumulate }: RmsNormOp, ahead: Ahead | undefined): void {
    this.#list.begin(out.at, x.at, weight.at, weight.length);
    this.#list.float(eps);
    this.#list.words(accumulate ? 1 : 0, ahead?.prepared.x ?? NONE);
    this.#list.end("rmsnorm", [x.cols / weight.length, n, 1]);
  }

  /** @param segments of gate (output 0) and up (output 1), whose h is at `h` */
  #siluMul(
    { out, gate, up, n, gelu }: SiluMulOp,
    segments: readonly PlacedSegment[],
    h: HRegion,
    next: LinearOp | undefined,
  ): void {
    const list = this.#list;
    const { cols } = gate;
    const tiles = Math.ceil(cols / (SILU_COLUMNS * this.#threads));
    const bank = segments[0]?.segment.type;
    // the following product's type decides how out is kept; a bank of another type forbids it
    const type = next === undefined ? (bank ?? "f32") : bankType(storageOf(next));
    const fused = bank === undefined || bank === type ? next : undefined;
    const ahead = fused && this.#prepare(fused, tiles);
    const placed = ahead?.placed ?? [];
    list.begin(out.at, gate.at, up.at, cols, unitCount(bank ?? type, cols));
    list.words(segments.length + placed.length, h.at, h.parts, h.stride);
    list.words(ahead?.prepared.x ?? NONE, ahead?.prepared.h.at ?? 0, ahead?.prepared.h.stride ?? 0);
    list.words(gelu ? 1 : 0);
    for (const segment of segments) writeSegment(list, segment, segment.output);
    for (const segment of placed) writeSegment(list, segment, 2);
    const bytes =
      segments.reduce((sum, segment) => sum + bBytes(segment), 0) +
      placed.reduce((sum, segment) => sum + aBytes(segment), 0);
    list.end(`silu-mul-${bank ?? type}`, [tiles, n, 1], {
      bank: heapOf([...segments, ...placed]),
      bytes,
    });
  }

  #plain({ shader, groups, params, list: numbers, weights, bytes = 0 }: PlainOp): void {
    const list = this.#list;
    list.begin();
    for (const param of params) {
      if (typeof param === "number") list.words(param);
      else list.float(param.f32);
    }
    if (numbers !== undefined) list.words(list.list(numbers));
    list.end(shader, groups, weights === undefined ? { bytes } : { weights, bytes });
  }
}

/** A norm rides in a product's load where few rows are read, and nothing that the norm reads is written meanwhile. */
function canNorm(norm: RmsNormOp, next: LinearOp): boolean {
  return (
    next.x === norm.out &&
    next.row === 0 &&
    next.n === norm.n &&
    next.n <= MATVEC_ROWS &&
    norm.x !== norm.out &&
    !norm.accumulate &&
    !isOfHeads(norm) &&
    next.outputs.every(({ out }) => out !== norm.x && out !== norm.out)
  );
}

/** The product that directly follows operation i and reads all rows that it makes, if something can be prepared for it. */
function nextProduct(
  ops: readonly Operation[],
  i: number,
  x: GpuTensor,
  n: number,
): LinearOp | undefined {
  const next = ops[i + 1];
  if (next?.kind !== "linear" || next.x !== x || next.row !== 0 || next.n !== n) return undefined;
  const quantized = n > MATVEC_ROWS && isQuantized(storageOf(next));
  return n === 1 || quantized ? next : undefined;
}

/** Whether every output with a bank is among `tensors`. */
function coversBank({ outputs }: LinearOp, tensors: readonly GpuTensor[]): boolean {
  return outputs.every(({ out, bank }) => bank.length === 0 || tensors.includes(out));
}

/** Outputs of a product become inputs of the pass that follows it. */
function moveOutputs(
  placed: readonly PlacedSegment[],
  { outputs }: LinearOp,
  tensors: readonly GpuTensor[],
): PlacedSegment[] {
  return placed.map((segment) => ({
    ...segment,
    output: tensors.indexOf(outputs[segment.output]!.out),
  }));
}
