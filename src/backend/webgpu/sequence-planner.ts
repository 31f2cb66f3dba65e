// Operations that look at positions, as dispatches: rotary embedding and the cache, attention and what joins its stretches. One
// dispatch serves the rows of all sequences whose caches lie in one buffer.
import { type DispatchList, NONE } from "./dispatch-list.ts";
import type { GpuKvCache, GpuRope, GpuTensor } from "./handles.ts";
import { bankType, unitCols } from "./layout.ts";
import {
  aBytes,
  bBytes,
  type HRegion,
  heapOf,
  NO_H,
  type PlacedSegment,
  type Prepared,
  storageOf,
  writeSegment,
} from "./linear-planner.ts";
import type { AttentionOp, GpuSpan, LinearOp, Operation, RmsNormOp } from "./operations.ts";
import { cacheShaders } from "./pipelines.ts";
import type { Scratch } from "./scratch.ts";

/** Rows (token × head) of one workgroup of attention.wgsl. */
const ATTENTION_ROWS = 8;
const ROPE_INPUTS = 3;
const ROPE_INPUT_WORDS = 6;
/** Workgroups that keep a GPU busy in attention; more stretches than these only add partial results. */
const BUSY = 256;
const MOST_SPLITS = 32;
const KEEP = { keys: 1, values: 2 } as const;

/** One input of rope.wgsl. */
interface Turned {
  readonly x: GpuTensor;
  norm: RmsNormOp | undefined;
  turn: 0 | 1 | 2;
  store: "keys" | "values" | undefined;
}

/** Consecutive norms of heads, `rope` and `writeKv` operations that one dispatch can do. */
export interface Turn {
  readonly inputs: readonly Turned[];
  readonly rope: GpuRope | undefined;
  readonly spans: readonly GpuSpan[];
  readonly layer: number;
  readonly headDim: number;
  /** Operations taken. */
  readonly count: number;
}

/** What is laid out for a product further on. */
export interface Ahead {
  readonly placed: readonly PlacedSegment[];
  readonly prepared: Prepared;
}

export class SequencePlanner {
  readonly #list: DispatchList;
  readonly #scratch: Scratch;
  readonly #threads: number;
  readonly #prepare: (next: LinearOp, parts: number) => Ahead;

  /** @param prepare lays out what a pass prepares for the product that follows */
  constructor(
    list: DispatchList,
    scratch: Scratch,
    threads: number,
    prepare: (next: LinearOp, parts: number) => Ahead,
  ) {
    this.#list = list;
    this.#scratch = scratch;
    this.#threads = threads;
    this.#prepare = prepare;
  }

  /** @param segments of a single row, `output` being the input they add to */
  turn(turn: Turn, segments: readonly PlacedSegment[], h: HRegion): void {
    const list = this.#list;
    const { inputs, rope, headDim, layer } = turn;
    const bank = segments[0]?.segment.type ?? "f32";
    const stored = inputs.some(({ store }) => store !== undefined);
    for (const spans of stored ? byCache(turn.spans, layer) : [turn.spans]) {
      const { cache } = spans[0]!;
      const rows = spans.flatMap(({ cache, position, row, n }) =>
        Array.from({ length: n }, (_, i) => [row + i, position + i, ...placeOf(cache, layer)]),
      );
      const address = list.list(Uint32Array.from(rows.flat()));
      list.begin(inputs.length, segments.length, headDim, rope?.at ?? 0, address);
      list.words(h.at, h.parts, h.stride);
      list.float(inputs.find(({ norm }) => norm !== undefined)?.norm?.eps ?? 0);
      let heads = 0;
      for (const { x, norm, turn: way, store } of inputs) {
        list.words(heads, x.at, x.cols, norm?.weight.at ?? NONE, way);
        list.words(store === undefined ? 0 : KEEP[store]);
        heads += x.cols / headDim;
      }
      list.pad(inputs.length, ROPE_INPUTS, ROPE_INPUT_WORDS);
      let bytes = 0;
      for (const segment of segments) {
        writeSegment(list, segment, segment.output);
        bytes += bBytes(segment);
      }
      const { rope: shader } = cacheShaders(headDim, stored ? cache.type : "f32", this.#threads);
      const kv = stored ? { kv: cache.places[layer]!.heap } : {};
      list.end(shader(bank), [heads, rows.length, 1], { ...kv, bank: heapOf(segments), bytes });
    }
  }

  /** @param next the product that directly follows, if something can be prepared for it */
  attention({ out, q, layer, spans, window }: AttentionOp, next: LinearOp | undefined): void {
    const list = this.#list;
    const [{ cache }] = spans as [GpuSpan];
    const { headDim, kvHeads } = cache;
    const heads = q.cols / headDim;
    const share = heads / kvHeads;
    const items = (span: GpuSpan): number => Math.ceil((span.n * share) / ATTENTION_ROWS);
    const groups = spans.reduce((sum, span) => sum + items(span), 0);
    const positions = Math.max(...spans.map(({ position, n }) => position + n));
    const wanted = Math.max(1, Math.floor(BUSY / (groups * kvHeads)));
    const tiles = Math.ceil(positions / this.#threads);
    const stretch = Math.ceil(tiles / Math.min(tiles, wanted, MOST_SPLITS)) * this.#threads;
    const splits = Math.ceil(positions / stretch);
    const rows = rowsOf(spans);
    // where there is nothing to join, a pass over many rows is no better than one that only quantizes
    const worthwhile = rows === 1 || splits > 1;
    const fused = worthwhile && next !== undefined && headDim % unitCols(storageOf(next)) === 0;
    const direct = splits === 1 && !fused;
    const size = rows * heads * splits * (headDim + 2);
    const partial = direct ? NONE : this.#scratch.get("partial attention", size);
    for (const some of byCache(spans, layer)) {
      const { cache } = some[0]!;
      const work = some.flatMap((span) =>
        Array.from({ length: items(span) }, (_, i) => {
          const first = [span.row, span.n, span.position, ...placeOf(span.cache, layer)];
          return [...first, i * ATTENTION_ROWS];
        }),
      );
      const address = list.list(Uint32Array.from(work.flat()));
      list.begin(q.at, out.at, splits, stretch, partial, heads, kvHeads, headDim, address);
      list.float(1 / Math.sqrt(headDim));
      list.words(window);
      const seen = some.reduce((sum, { position, n }) => sum + Math.min(position, window) + n, 0);
      const bytes = 2 * seen * kvHeads * headDim * (cache.type === "f16" ? 2 : 4);
      const kv = cache.places[layer]!.heap;
      const { attention } = cacheShaders(headDim, cache.type, this.#threads);
      list.end(attention, [work.length, kvHeads, splits], { kv, bytes });
    }
    if (direct) return;
    const ahead = fused ? this.#prepare(next, heads) : undefined;
    const placed = ahead?.placed ?? [];
    const h = ahead?.prepared.h ?? NO_H;
    list.begin(out.at, splits, partial, heads, headDim, ahead?.prepared.x ?? NONE);
    list.words(placed.length, h.at, h.stride);
    for (const segment of placed) writeSegment(list, segment, segment.output);
    const bytes = placed.reduce((sum, segment) => sum + aBytes(segment), 0);
    const { combine } = cacheShaders(headDim, cache.type, this.#threads);
    const bank = fused ? bankType(storageOf(next)) : "f32";
    list.end(combine(bank), [heads, rows, 1], { bank: heapOf(placed), bytes });
  }
}

export function rowsOf(spans: readonly GpuSpan[]): number {
  return spans.reduce((sum, { n }) => sum + n, 0);
}

/** Spans whose caches lie in one heap, and are held alike. */
function byCache(spans: readonly GpuSpan[], layer: number): GpuSpan[][] {
  const groups: GpuSpan[][] = [];
  for (const span of spans) {
    const { places, type } = span.cache;
    const group = groups.find(
      ([one]) => one!.cache.type === type && one!.cache.places[layer]!.heap === places[layer]!.heap,
    );
    if (group === undefined) groups.push([span]);
    else group.push(span);
  }
  return groups;
}

/** Where keys begin, in words, and positions per head. */
function placeOf({ places, length }: GpuKvCache, layer: number): [number, number] {
  return [(places[layer]?.offset ?? 0) / 4, length];
}

/**
 * What one dispatch can do from operation `i` on; `undefined` if there is nothing.
 * @param threads of a workgroup
 */
export function matchTurn(ops: readonly Operation[], i: number, threads: number): Turn | undefined {
  const norms = normsInPlace(ops, i);
  const turn = matchRotation(ops, i + norms.length);
  if (turn === undefined || norms.length === 0) return turn;
  // a norm's head is one sweep of the threads, and all that is normed must be turned or kept
  const { inputs, spans, headDim, count } = turn;
  if (headDim % 2 !== 0 || headDim > 2 * threads) return undefined;
  for (const norm of norms) {
    const found = inputs.filter(({ x }) => x === norm.x);
    const fits = norm.weight.length === headDim && norm.n === rowsOf(spans);
    if (!fits || found.length !== 1 || norm.eps !== norms[0]!.eps) return undefined;
    found[0]!.norm = norm;
  }
  return { ...turn, count: count + norms.length };
}

/** Norms in place, of one tensor each. */
function normsInPlace(ops: readonly Operation[], i: number): RmsNormOp[] {
  const norms: RmsNormOp[] = [];
  for (let op = ops[i]; op?.kind === "rmsNorm" && op.out === op.x; op = ops[i + norms.length]) {
    if (norms.some(({ x }) => x === op.x)) break;
    norms.push(op);
  }
  return norms;
}

/** Whether it norms parts of rows. */
export function isOfHeads({ x, weight }: RmsNormOp): boolean {
  return weight.length < x.cols;
}

function matchRotation(ops: readonly Operation[], i: number): Turn | undefined {
  const first = ops[i];
  if (first?.kind !== "rope" && first?.kind !== "writeKv") return undefined;
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
    inputs.push({ x: op.x, norm: undefined, turn: op.backward ? 2 : 1, store: undefined });
  }
  let headDim = rope?.headDim;
  const op = ops[at];
  if (op?.kind === "writeKv" && sameSpans(op.spans, spans)) {
    const cacheDim = (op.spans[0]!.cache as GpuKvCache).headDim;
    const fresh = [op.k, op.v].filter((x) => !inputs.some((input) => input.x === x));
    const fits = inputs.length + fresh.length <= ROPE_INPUTS && op.k !== op.v;
    if (fits && (headDim === undefined || headDim === cacheDim)) {
      for (const x of fresh) inputs.push({ x, norm: undefined, turn: 0, store: undefined });
      inputs.find(({ x }) => x === op.k)!.store = "keys";
      inputs.find(({ x }) => x === op.v)!.store = "values";
      layer = op.layer;
      headDim = cacheDim;
      at++;
    } else if (inputs.length === 0) {
      // keys and values from one tensor: two inputs that read the same numbers
      const input = { norm: undefined, turn: 0 } as const;
      inputs.push({ ...input, x: op.k, store: "keys" }, { ...input, x: op.v, store: "values" });
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
