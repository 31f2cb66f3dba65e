// Records what reads and writes KV caches: one command per span. Where one short call leaves threads without work (decoding
// one sequence), its keys are dealt out to them in blocks, and the partial results combined in a second step; the bits are the
// same (assembly/attention.ts).
import type { Span, Tensor } from "../backend.ts";
import type { CaptureRecorder } from "./capture-recorder.ts";
import { type CommandList, Op } from "./commands.ts";
import type { HandleRegistry } from "./handles.ts";
import { KEY_BLOCK } from "./layout.ts";
import type { Recorder } from "./recorder.ts";
import type { Scratch } from "./scratch.ts";

/** Units of work per thread from which on keys are not dealt out. */
const UNITS_PER_THREAD = 4;

export class AttentionRecorder {
  readonly #handles: HandleRegistry;
  readonly #scratch: Scratch;
  readonly #commands: CommandList;
  readonly #captures: CaptureRecorder;
  readonly #threads: number;

  constructor({ handles, scratch, commands, captures, threads }: Recorder) {
    this.#handles = handles;
    this.#scratch = scratch;
    this.#commands = commands;
    this.#captures = captures;
    this.#threads = threads;
  }

  /** As `Backend.writeKv`. */
  write(layer: number, k: Tensor, v: Tensor, spans: readonly Span[]): void {
    let keyRow = this.#handles.get(k).offset;
    let valueRow = this.#handles.get(v).offset;
    for (const { cache, position, n } of spans) {
      const to = this.#handles.get(cache);
      this.#commands.push(
        Op.writeKv[to.type],
        to.keys + layer * to.layerKeys,
        to.values + layer * to.layerValues,
        keyRow,
        valueRow,
        n,
        to.kvHeads,
        to.headDim,
        to.capacity,
        position,
      );
      this.#captures.position(8);
      this.#captures.within(0, cache.length);
      this.#commands.joinNext();
      keyRow += n * k.cols * 4;
      valueRow += n * v.cols * 4;
    }
    this.#commands.meet();
  }

  /** As `Backend.attention`. */
  record(out: Tensor, q: Tensor, layer: number, spans: readonly Span[], window: number): void {
    let outRow = this.#handles.get(out).offset;
    let queryRow = this.#handles.get(q).offset;
    for (const span of spans) {
      this.#recordSpan(outRow, queryRow, q.cols, layer, span, window, spans.length === 1);
      outRow += span.n * q.cols * 4;
      queryRow += span.n * q.cols * 4;
    }
    this.#commands.meet();
  }

  #recordSpan(
    out: number,
    q: number,
    cols: number,
    layer: number,
    { cache, position, n }: Span,
    window: number,
    alone: boolean,
  ): void {
    const from = this.#handles.get(cache);
    const { kvHeads, headDim } = from;
    const heads = cols / headDim;
    const queries = (n * heads) / kvHeads;
    const blocks = Math.ceil((position + n) / KEY_BLOCK);
    const valueDim = Math.ceil(headDim / 8) * 8;
    const partial = 16 + 4 * valueDim;
    const scratch = this.#scratch.get(
      "attention",
      this.#threads * (16 * valueDim + 32 * KEY_BLOCK + 8 * partial),
    );
    const units = kvHeads * Math.ceil(queries / 4);
    const dealt =
      alone && this.#threads > 1 && blocks > 1 && units < UNITS_PER_THREAD * this.#threads;
    // at most: for a later token of a capture the window may reach into one more
    const seen = Math.min(blocks, Math.ceil((window + n) / KEY_BLOCK) + 1);
    const to = dealt
      ? this.#scratch.get("attention parts", kvHeads * queries * seen * partial)
      : out;
    const op = dealt ? Op.attentionParts : Op.attention;
    this.#commands.push(
      op[from.type],
      to,
      q,
      from.keys + layer * from.layerKeys,
      from.values + layer * from.layerValues,
      n,
      heads,
      kvHeads,
      headDim,
      from.capacity,
      position,
      0,
      scratch,
      window,
    );
    this.#commands.float(10, 1 / Math.sqrt(headDim));
    this.#captures.position(9);
    if (this.#threads > 1) this.#captures.within((blocks - 1) * KEY_BLOCK, blocks * KEY_BLOCK);
    if (dealt) {
      this.#commands.push(
        Op.attentionCombine,
        out,
        to,
        n,
        heads,
        kvHeads,
        headDim,
        position,
        scratch,
        window,
      );
      this.#captures.position(6);
    }
    this.#commands.joinNext();
  }
}
