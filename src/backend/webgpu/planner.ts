// Recorded operations become dispatches. In decoding (one row), neighbours are fused: a norm into the product that reads it; the
// rest of a product's bank with rotary embedding and the cache, or with the gated activation; and what a product needs of its
// input (quantization, A x) into the pass that makes the input. Every fused dispatch also writes what the separate
// operations would have written, so nothing that can be seen changes.
import { type DispatchList, NONE } from "./dispatch-list.ts";
import type { GpuKvCache, GpuRope, GpuTensor } from "./handles.ts";
import { packedBytes, planeSize, unitCols, unitCount, VEC4 } from "./layout.ts";
import {
  aBytes,
  bankType,
  bBytes,
  type HRegion,
  heapOf,
  hStride,
  LinearPlanner,
  MATVEC_ROWS,
  NO_H,
  type PlacedSegment,
  type Prepared,
  placeSegments,
  typeOf,
  writeSegment,
} from "./linear-planner.ts";
import type {
  AttentionOp,
  EmbedOp,
  GpuSpan,
  LinearOp,
  Operation,
  PlainOp,
  RmsNormOp,
  RopeOp,
  SiluMulOp,
  WriteKvOp,
} from "./operations.ts";
import type { Scratch } from "./scratch.ts";

const ATTENTION_ROWS = 8;
const SILU_TILE = 256;
const ROPE_INPUTS = 3;
const ROPE_INPUT_WORDS = 6;
/** Workgroups that keep a GPU busy in attention; more stretches than these only add partial results. */
const BUSY = 256;
const MOST_SPLITS = 32;

/** One input of rope.wgsl. */
interface Turned {
  readonly x: GpuTensor;
  turn: 0 | 1 | 2;
  store: "keys" | "values" | undefined;
}

/** Consecutive `rope` and `writeKv` operations that one dispatch can do. */
interface Turn {
  readonly inputs: readonly Turned[];
  readonly rope: GpuRope | undefined;
  readonly spans: readonly GpuSpan[];
  readonly layer: number;
  readonly headDim: number;
  /** Operations taken. */
  readonly count: number;
}

export class Planner {
  readonly #list: DispatchList;
  readonly #scratch: Scratch;
  readonly #linear: LinearPlanner;
  /** What has been prepared for a product further on. */
  #ahead: { op: LinearOp; placed: PlacedSegment[]; prepared: Prepared } | undefined;

  constructor(list: DispatchList, scratch: Scratch) {
    this.#list = list;
    this.#scratch = scratch;
    this.#linear = new LinearPlanner(list, scratch);
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
        const next = ops[i + 1];
        if (next?.kind === "linear" && canNorm(op, next)) {
          return 1 + this.#product(ops, i + 1, op);
        }
        this.#rmsNorm(op);
        return 1;
      }
      case "linear":
        return this.#product(ops, i, undefined);
      case "rope":
      case "writeKv": {
        const turn = matchTurn(ops, i);
        this.#turn(turn, [], NO_H);
        return turn.count;
      }
      case "attention":
        this.#attention(op, nextProduct(ops, i, op.out, rowsOf(op.spans)));
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
      if (follower?.kind === "rope" || follower?.kind === "writeKv") {
        const turn = matchTurn(ops, i + 1);
        const tensors = turn.inputs.map(({ x }) => x);
        if (rowsOf(turn.spans) === 1 && coversBank(op, tensors) && turn.headDim % 2 === 0) {
          const placed = placeSegments(this.#list, op.outputs);
          const h = this.#linear.planDeferred(op, norm, placed);
          this.#turn(turn, moveOutputs(placed, op, tensors), h);
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

  /** Lays out what a pass prepares for `next`. */
  #prepare(next: LinearOp, parts: number): { placed: PlacedSegment[]; prepared: Prepared } {
    const type = typeOf(next);
    const placed = placeSegments(this.#list, next.outputs);
    const stride = hStride(placed);
    const units = unitCount(type, next.x.cols);
    const x = this.#scratch.get("prepared x", units * (type === "f32" ? 4 : 10));
    const h = { at: this.#scratch.get("prepared h", parts * stride), parts, stride };
    const ahead = { op: next, placed, prepared: { x, h } };
    this.#ahead = ahead;
    return ahead;
  }

  #embed({ out, table, n, ids }: EmbedOp): void {
    const list = this.#list;
    const given = ids instanceof Uint32Array;
    const address = given ? list.list(ids) : ids.at;
    const { type, cols } = table;
    for (const part of table.parts) {
      list.begin(out.at, address, given ? 0 : ids.k, cols, unitCount(type, cols));
      list.words(part.offset / VEC4, planeSize(type, part.rows, cols), part.row0, part.rows);
      const bytes = n * packedBytes(type, 1, cols);
      list.end(`embed-${type}`, [Math.ceil(cols / 64), n, 1], { weights: part.buffer, bytes });
    }
  }

  #rmsNorm({ out, x, weight, eps, n }: RmsNormOp): void {
    this.#list.begin(out.at, x.at, weight.at, x.cols);
    this.#list.float(eps);
    this.#list.end("rmsnorm", [n, 1, 1]);
  }

  /** @param segments of a single row, `output` being the input they add to */
  #turn(turn: Turn, segments: readonly PlacedSegment[], h: HRegion): void {
    const list = this.#list;
    const { inputs, rope, headDim, layer } = turn;
    const type = segments[0]?.segment.type ?? "f32";
    for (const { cache, position, n, row } of turn.spans) {
      list.begin(inputs.length, segments.length, headDim, position, rope?.at ?? 0, cache.length);
      list.words(h.at, h.parts, h.stride);
      let heads = 0;
      for (const { x, turn: way, store } of inputs) {
        const keys = cache.kvHeads * cache.headDim * cache.length;
        const at = store === undefined ? NONE : store === "keys" ? 0 : keys;
        list.words(heads, x.at + row * x.cols, x.cols, way, at, store === "keys" ? 1 : 0);
        heads += x.cols / headDim;
      }
      list.pad(inputs.length, ROPE_INPUTS, ROPE_INPUT_WORDS);
      let bytes = 0;
      for (const segment of segments) {
        writeSegment(list, segment, segment.output);
        bytes += bBytes(segment);
      }
      const stored = inputs.some(({ store }) => store !== undefined);
      const kv = stored ? { kv: cache.buffers[layer]! } : {};
      list.end(`rope-${type}`, [heads, n, 1], { ...kv, bank: heapOf(segments), bytes });
    }
  }

  #attention({ out, q, layer, spans }: AttentionOp, next: LinearOp | undefined): void {
    for (const span of spans) {
      const { cache, row, n } = span;
      const { headDim } = cache;
      const heads = q.cols / headDim;
      const positions = span.position + n;
      const groups = Math.ceil((n * (heads / cache.kvHeads)) / ATTENTION_ROWS);
      const wanted = Math.max(1, Math.floor(BUSY / (groups * cache.kvHeads)));
      const tiles = Math.ceil(positions / 64);
      const stretch = Math.ceil(tiles / Math.min(tiles, wanted, MOST_SPLITS)) * 64;
      const splits = Math.ceil(positions / stretch);
      const fused = next !== undefined && headDim % unitCols(typeOf(next)) === 0 ? next : undefined;
      const direct = splits === 1 && fused === undefined;
      const size = n * heads * splits * (headDim + 2);
      const partial = direct ? NONE : this.#scratch.get("partial attention", size);
      const list = this.#list;
      const outAt = out.at + row * out.cols;
      list.begin(q.at + row * q.cols, outAt, splits, stretch, partial);
      list.words(n, span.position, heads, cache.kvHeads, headDim, cache.length);
      list.words(0, cache.kvHeads * headDim * cache.length);
      list.float(1 / Math.sqrt(headDim));
      const bytes = 2 * 4 * positions * cache.kvHeads * headDim;
      const kv = cache.buffers[layer]!;
      list.end("attention", [groups, cache.kvHeads, splits], { kv, bytes });
      if (!direct) this.#combine(outAt, splits, partial, heads, headDim, n, fused);
    }
  }

  #combine(
    out: number,
    splits: number,
    partial: number,
    heads: number,
    headDim: number,
    n: number,
    next: LinearOp | undefined,
  ): void {
    const list = this.#list;
    const ahead = next && this.#prepare(next, heads);
    const placed = ahead?.placed ?? [];
    const h = ahead?.prepared.h ?? NO_H;
    list.begin(out, splits, partial, heads, headDim, ahead?.prepared.x ?? NONE);
    list.words(placed.length, h.at, h.stride);
    for (const segment of placed) writeSegment(list, segment, segment.output);
    const bytes = placed.reduce((sum, segment) => sum + aBytes(segment), 0);
    const type = next === undefined ? "f32" : bankType(typeOf(next));
    list.end(`attention-combine-${type}`, [heads, n, 1], { bank: heapOf(placed), bytes });
  }

  /** @param segments of gate (output 0) and up (output 1), whose h is at `h` */
  #siluMul(
    { out, gate, up, n }: SiluMulOp,
    segments: readonly PlacedSegment[],
    h: HRegion,
    next: LinearOp | undefined,
  ): void {
    const list = this.#list;
    const { cols } = gate;
    const tiles = Math.ceil(cols / SILU_TILE);
    const bank = segments[0]?.segment.type;
    // the following product's type decides how out is kept; a bank of another type forbids it
    const type = next === undefined ? (bank ?? "f32") : bankType(typeOf(next));
    const fused = bank === undefined || bank === type ? next : undefined;
    const ahead = fused && this.#prepare(fused, tiles);
    const placed = ahead?.placed ?? [];
    list.begin(out.at, gate.at, up.at, cols, unitCount(bank ?? type, cols));
    list.words(segments.length + placed.length, h.at, h.parts, h.stride);
    list.words(ahead?.prepared.x ?? NONE, ahead?.prepared.h.at ?? 0, ahead?.prepared.h.stride ?? 0);
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

function rowsOf(spans: readonly GpuSpan[]): number {
  return spans.reduce((sum, { n }) => sum + n, 0);
}

/** A norm rides in a product's load where few rows are read, and nothing that the norm reads is written meanwhile. */
function canNorm(norm: RmsNormOp, next: LinearOp): boolean {
  return (
    next.x === norm.out &&
    next.row === 0 &&
    next.n === norm.n &&
    next.n <= MATVEC_ROWS &&
    norm.x !== norm.out &&
    next.outputs.every(({ out }) => out !== norm.x && out !== norm.out)
  );
}

/** The product that directly follows operation i and reads the one row that it makes. */
function nextProduct(
  ops: readonly Operation[],
  i: number,
  x: GpuTensor,
  n: number,
): LinearOp | undefined {
  const next = ops[i + 1];
  if (n !== 1 || next?.kind !== "linear") return undefined;
  return next.x === x && next.row === 0 && next.n === 1 ? next : undefined;
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

function matchTurn(ops: readonly Operation[], i: number): Turn {
  const first = ops[i] as RopeOp | WriteKvOp;
  const { spans } = first;
  const inputs: Turned[] = [];
  let rope: GpuRope | undefined;
  let layer = 0;
  let at = i;
  for (; at < ops.length && inputs.length < ROPE_INPUTS; at++) {
    const op = ops[at]!;
    if (op.kind !== "rope" || !sameSpans(op.spans, spans)) break;
    if (rope !== undefined && op.rope !== rope) break;
    if (inputs.some(({ x }) => x === op.x)) break;
    rope = op.rope;
    inputs.push({ x: op.x, turn: op.backward ? 2 : 1, store: undefined });
  }
  let headDim = rope?.headDim;
  const op = ops[at];
  if (op?.kind === "writeKv" && sameSpans(op.spans, spans)) {
    const cacheDim = (op.spans[0]!.cache as GpuKvCache).headDim;
    const fresh = [op.k, op.v].filter((x) => !inputs.some((input) => input.x === x));
    const fits = inputs.length + fresh.length <= ROPE_INPUTS && op.k !== op.v;
    if (fits && (headDim === undefined || headDim === cacheDim)) {
      for (const x of fresh) inputs.push({ x, turn: 0, store: undefined });
      inputs.find(({ x }) => x === op.k)!.store = "keys";
      inputs.find(({ x }) => x === op.v)!.store = "values";
      layer = op.layer;
      headDim = cacheDim;
      at++;
    } else if (inputs.length === 0) {
      // keys and values from one tensor: two inputs that read the same numbers
      inputs.push({ x: op.k, turn: 0, store: "keys" }, { x: op.v, turn: 0, store: "values" });
      layer = op.layer;
      headDim = cacheDim;
      at++;
    }
  }
  return { inputs, rope, spans, layer, headDim: headDim!, count: at - i };
}

function sameSpans(a: readonly GpuSpan[], b: readonly GpuSpan[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ cache, position, n }, i) => {
      const other = b[i]!;
      return cache === other.cache && position === other.position && n === other.n;
    })
  );
}
