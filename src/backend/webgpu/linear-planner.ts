// Products with their bank as dispatches. The rule that saves passes in decoding: A x rides in the pass that makes x (`ahead`) or
// reads it (`defer`), B h in the pass that makes or reads the output.

import { specializeWeights } from "./compose.ts";
import { type DispatchList, NONE } from "./dispatch-list.ts";
import type { MatrixPart } from "./handles.ts";
import { isQuantized, packedBytes, planeSize, type Storage, unitCount, VEC4 } from "./layout.ts";
import type { Heap } from "./memory.ts";
import type { ActiveSegment, LinearOp, LinearProduct, RmsNormOp } from "./operations.ts";
import type { Scratch } from "./scratch.ts";

/** More rows than this go through tiles (matmul.wgsl). */
export const MATVEC_ROWS = 3;
const OUTPUTS = 4;
const OUTPUT_WORDS = 9;
/** Tokens of a tile of matmul.wgsl, and columns of h to whose multiples segments are padded. */
const TILE = 32;

/** Where h = m (A x) of all active segments lies: `parts` partial sums of `stride` numbers each. */
export interface HRegion {
  readonly at: number;
  readonly parts: number;
  readonly stride: number;
}

export const NO_H: HRegion = { at: 0, parts: 1, stride: 0 };

/** An input that the pass before has prepared. */
export interface Prepared {
  /** x as `keep_unit` (lib/x-*.wgsl) leaves it. */
  readonly x: number;
  readonly h: HRegion;
}

/** A segment with its place among the columns of h. */
export interface PlacedSegment extends ActiveSegment {
  readonly output: number;
  readonly column: number;
  /** Address of its m in the lists. */
  readonly list: number;
}

export function storageOf(op: LinearOp): Storage {
  return op.outputs[0]!.weight.storage;
}

/** Segments in order, each at a multiple of 32 columns of h. */
export function placeSegments(
  list: DispatchList,
  outputs: readonly LinearProduct[],
): PlacedSegment[] {
  const placed: PlacedSegment[] = [];
  let column = 0;
  for (const [output, { bank }] of outputs.entries()) {
    for (const { segment, m } of bank) {
      placed.push({ segment, m, output, column, list: list.listFloats(m) });
      column += paddedRank(segment.rank);
    }
  }
  return placed;
}

function paddedRank(rank: number): number {
  return TILE * Math.ceil(rank / TILE);
}

export function hStride(placed: readonly PlacedSegment[]): number {
  const last = placed.at(-1);
  return last === undefined ? 0 : last.column + paddedRank(last.segment.rank);
}

/** Writes one `Segment` of lib/segment.wgsl. */
export function writeSegment(
  list: DispatchList,
  { segment, column, list: m }: PlacedSegment,
  output: number,
  firstGroup = 0,
): void {
  const { type, rank, rows, cols, a, b, bias } = segment;
  list.words(firstGroup, output, rank, column);
  list.words(a, planeSize(type, rank, cols), b, planeSize(type, rows, rank));
  list.words(bias?.at ?? NONE, m);
}

export function aBytes({ segment: { type, rank, cols } }: ActiveSegment): number {
  return packedBytes(type, rank, cols);
}

export function bBytes({ segment: { type, rank, rows } }: ActiveSegment): number {
  return packedBytes(type, rows, rank);
}

interface OutputPart {
  readonly index: number;
  readonly product: LinearProduct;
  readonly part: MatrixPart;
}

/** What of the bank a pass does. */
interface BankWork {
  readonly placed: readonly PlacedSegment[];
  readonly h: HRegion;
  readonly computeA: boolean;
  readonly addB: boolean;
}

export class LinearPlanner {
  readonly #list: DispatchList;
  readonly #scratch: Scratch;
  readonly #threads: number;

  constructor(list: DispatchList, scratch: Scratch, threads: number) {
    this.#list = list;
    this.#scratch = scratch;
    this.#threads = threads;
  }

  /** The whole product; `prepared` if the pass before has quantized x, and of one row computed h. */
  plan(
    op: LinearOp,
    norm: RmsNormOp | undefined,
    prepared?: Prepared,
    placed?: readonly PlacedSegment[],
  ): void {
    if (op.n > MATVEC_ROWS) {
      this.#planTiles(op, placeSegments(this.#list, op.outputs), prepared?.x);
      return;
    }
    const all = placed ?? placeSegments(this.#list, op.outputs);
    if (all.length === 0 || prepared !== undefined) {
      const h = prepared?.h ?? NO_H;
      const work = { placed: all, h, computeA: false, addB: all.length > 0 };
      this.#matvec(op, norm, prepared?.x ?? NONE, work);
      return;
    }
    const h = this.#ownH(op.n, all);
    this.#matvecPass(op, [], norm, NONE, { placed: all, h, computeA: true, addB: false });
    this.#matvec(op, norm, NONE, { placed: all, h, computeA: false, addB: true });
  }

  /** Base products and A x in one pass; B h is for the pass that follows. */
  planDeferred(
    op: LinearOp,
    norm: RmsNormOp | undefined,
    placed: readonly PlacedSegment[],
  ): HRegion {
    const h = this.#ownH(op.n, placed);
    this.#matvec(op, norm, NONE, { placed, h, computeA: placed.length > 0, addB: false });
    return h;
  }

  #ownH(n: number, placed: readonly PlacedSegment[]): HRegion {
    const stride = hStride(placed);
    return { at: this.#scratch.get("h", n * stride), parts: 1, stride };
  }

  #matvec(op: LinearOp, norm: RmsNormOp | undefined, x: number, work: BankWork): void {
    const passes = groupParts(op.outputs);
    for (const [i, parts] of passes.entries()) {
      // A rides in the first pass only
      this.#matvecPass(op, parts, norm, x, i === 0 ? work : { ...work, computeA: false });
    }
  }

  #matvecPass(
    op: LinearOp,
    parts: readonly OutputPart[],
    norm: RmsNormOp | undefined,
    prepared: number,
    { placed, h, computeA, addB }: BankWork,
  ): void {
    const list = this.#list;
    const storage = storageOf(op);
    const { cols } = op.x;
    const source = norm?.x ?? op.x;
    // with addB: once per part that the segment adds to
    const used = computeA
      ? placed.map((segment) => ({ segment, output: segment.output }))
      : addB
        ? placed.flatMap((segment) =>
            parts.flatMap(({ index }, output) =>
              index === segment.output ? [{ segment, output }] : [],
            ),
          )
        : [];
    list.begin(source.at + op.row * cols, cols, unitCount(storage, cols), prepared);
    list.words(norm?.weight.at ?? NONE);
    list.float(norm?.eps ?? 0);
    list.words(norm?.out.at ?? NONE, parts.length, used.length, computeA ? 1 : 0, addB ? 1 : 0);
    list.words(h.at, h.parts, h.stride);
    const groupRows = this.#threads / 4;
    let groups = this.#writeOutputs(parts, groupRows);
    let bytes = partBytes(storage, parts);
    for (const { segment, output } of used) {
      writeSegment(list, segment, output, groups);
      bytes += computeA ? aBytes(segment) : bBytes(segment);
      if (computeA) groups += Math.ceil(segment.segment.rank / groupRows);
    }
    list.end(specializeWeights("matvec", storage), [groups, op.n, 1], {
      ...slabOf(parts),
      bank: heapOf(placed),
      bytes,
    });
  }

  #planTiles(op: LinearOp, placed: readonly PlacedSegment[], quantized: number | undefined): void {
    const list = this.#list;
    const { n } = op;
    const { cols } = op.x;
    const storage = storageOf(op);
    const quantizes = isQuantized(storage);
    const tokens = Math.ceil(n / TILE);
    const tileRows = this.#threads / 2;
    let x = op.x.at + op.row * cols;
    if (quantizes) x = quantized ?? this.#quantize("x", x, cols, cols, n);
    const stride = hStride(placed);
    const h = placed.length > 0 ? this.#scratch.get("h", n * stride) : 0;
    let hx = h;
    if (placed.length > 0) {
      list.begin(x, n, cols, 0, placed.length, 1, h, stride, 0);
      list.pad(0, OUTPUTS, OUTPUT_WORDS);
      let groups = 0;
      let bytes = 0;
      for (const segment of placed) {
        writeSegment(list, segment, segment.output, groups);
        groups += Math.ceil(paddedRank(segment.segment.rank) / tileRows);
        bytes += aBytes(segment);
      }
      list.end(specializeWeights("matmul", storage), [groups, tokens, 1], {
        bank: heapOf(placed),
        bytes,
      });
      if (quantizes) hx = this.#quantize("quantized h", h, stride, stride, n);
    }
    for (const parts of groupParts(op.outputs)) {
      const used = placed.flatMap((segment) =>
        parts.flatMap(({ index }, output) =>
          index === segment.output ? [{ segment, output }] : [],
        ),
      );
      list.begin(x, n, cols, parts.length, used.length, 0, h, stride, hx);
      const groups = this.#writeOutputs(parts, tileRows);
      let bytes = partBytes(storage, parts);
      for (const { segment, output } of used) {
        writeSegment(list, segment, output);
        bytes += bBytes(segment);
      }
      list.end(specializeWeights("matmul", storage), [groups, tokens, 1], {
        ...slabOf(parts),
        bank: heapOf(placed),
        bytes,
      });
    }
  }

  /** Writes the array of outputs. @returns workgroups for them */
  #writeOutputs(parts: readonly OutputPart[], groupRows: number): number {
    let groups = 0;
    for (const { product, part } of parts) {
      const { out, weight, bias, accumulate } = product;
      this.#list.words(groups, part.rows, part.row0, part.offset / VEC4);
      this.#list.words(planeSize(weight.storage, part.rows, weight.cols), out.at, out.cols);
      this.#list.words(bias?.at ?? NONE, accumulate ? 1 : 0);
      groups += Math.ceil(part.rows / groupRows);
    }
    this.#list.pad(parts.length, OUTPUTS, OUTPUT_WORDS);
    return groups;
  }

  #quantize(name: string, x: number, stride: number, cols: number, n: number): number {
    const blocks = Math.ceil(cols / 32);
    const out = this.#scratch.get(`quantized ${name}`, n * blocks * 10);
    this.#list.begin(out, x, stride, cols, blocks, n);
    this.#list.end("quantize", [Math.ceil(blocks / this.#threads), n, 1]);
    return out;
  }
}

/** Parts that one dispatch can reach: of one slab, four at most. */
function groupParts(outputs: readonly LinearProduct[]): OutputPart[][] {
  const groups: OutputPart[][] = [];
  for (const [index, product] of outputs.entries()) {
    for (const part of product.weight.parts) {
      const last = groups.at(-1);
      if (last !== undefined && last.length < OUTPUTS && last[0]!.part.buffer === part.buffer) {
        last.push({ index, product, part });
      } else groups.push([{ index, product, part }]);
    }
  }
  return groups;
}

function partBytes(storage: Storage, parts: readonly OutputPart[]): number {
  return parts.reduce(
    (sum, { part, product }) => sum + packedBytes(storage, part.rows, product.weight.cols),
    0,
  );
}

function slabOf(parts: readonly OutputPart[]): { weights?: GPUBuffer } {
  const weights = parts[0]?.part.buffer;
  return weights === undefined ? {} : { weights };
}

/** Where the segments of one call lie. */
export function heapOf(placed: readonly PlacedSegment[]): Heap | undefined {
  const heap = placed[0]?.segment.heap;
  if (placed.some(({ segment }) => segment.heap !== heap)) {
    throw new Error("segments of one call are named for different layers");
  }
  return heap;
}
