// Records products that share their input, with their banks:
//   1. the input is packed once for every kind of weight that reads it;
//   2. all base products W x, and h = m (A x) of every active segment: none depends on another;
//   3. every h is packed;
//   4. out += B h, segment by segment.
// Threads meet after each step. The bank reads the packed input that is there already: no extra pass over the activations.
import type { LinearOutput, Tensor, WeightType } from "../backend.ts";
import { requireBeside } from "./checks.ts";
import { type CommandList, Mode, Op } from "./commands.ts";
import type { HandleRegistry, WasmMatrix, WasmSegment } from "./handles.ts";
import { type PanelType, panelBytes } from "./layout.ts";
import type { Scratch } from "./scratch.ts";

/** A packed activation: its address and bytes per token. */
interface Panels {
  offset: number;
  tokenBytes: number;
  /** Packed by the call at hand. */
  ready: boolean;
}

/** A segment with m ≠ 0 on its way through steps 2 to 4. */
interface ActiveSegment {
  segment: WasmSegment;
  m: number;
  out: Tensor;
  /** h [n, rank] f32 */
  h: number;
  packed: number;
}

const INPUT = { f32: "input f32", i16: "input i16", i8: "input i8" } as const;

/** Lists and records live as long as the recorder: a decoder calls it a hundred times per token. */
export class LinearRecorder {
  readonly #handles: HandleRegistry;
  readonly #scratch: Scratch;
  readonly #commands: CommandList;
  readonly #relaxed: boolean;
  readonly #inputs: Readonly<Record<PanelType, Panels>> = {
    f32: { offset: 0, tokenBytes: 0, ready: false },
    i16: { offset: 0, tokenBytes: 0, ready: false },
    i8: { offset: 0, tokenBytes: 0, ready: false },
  };
  readonly #segments: ActiveSegment[] = [];
  /** How many of `#segments` the call at hand uses. */
  #active = 0;

  constructor(handles: HandleRegistry, scratch: Scratch, commands: CommandList, relaxed: boolean) {
    this.#handles = handles;
    this.#scratch = scratch;
    this.#commands = commands;
    this.#relaxed = relaxed;
  }

  /** As `Backend.linear`. */
  record(x: Tensor, n: number, outputs: readonly LinearOutput[], row: number): void {
    for (const { out, weight } of outputs) requireShape(x, n, out, weight);
    const from = this.#handles.get(x).offset + row * x.cols * 4;
    this.#placeSegments(outputs, n);
    this.#packInputs(from, x.cols, n, outputs);
    this.#recordProducts(n, outputs);
    if (this.#active === 0) return;
    this.#packRanks(n);
    this.#recordBanks(n);
  }

  /** Step 1. f32 rows that form no full panel are read where they lie. */
  #packInputs(from: number, cols: number, n: number, outputs: readonly LinearOutput[]): void {
    const { f32, i16, i8 } = this.#inputs;
    f32.ready = false;
    i16.ready = false;
    i8.ready = false;
    for (const { weight } of outputs) this.#packInput(weight.type, from, cols, n);
    for (let i = 0; i < this.#active; i++) {
      this.#packInput(this.#segment(i).segment.a.type, from, cols, n);
    }
    this.#commands.meet();
  }

  #packInput(weight: WeightType, from: number, cols: number, n: number): void {
    const type = this.#panelType(weight);
    const input = this.#inputs[type];
    if (input.ready) return;
    input.ready = true;
    input.tokenBytes = panelBytes(type, cols);
    if (type === "f32" && n < 4) {
      input.offset = from;
      return;
    }
    input.offset = this.#scratch.get(INPUT[type], n * input.tokenBytes);
    this.#commands.push(Op.pack[type], input.offset, from, cols, n, cols);
    this.#commands.joinNext();
  }

  /** Step 2. */
  #recordProducts(n: number, outputs: readonly LinearOutput[]): void {
    for (const { out, weight, bias, accumulate } of outputs) {
      const to = this.#handles.get(out).offset;
      const biasOffset = bias === undefined ? 0 : this.#handles.get(bias).offset;
      const mode = accumulate === true ? Mode.add : Mode.store;
      const input = this.#inputs[this.#panelType(weight.type)];
      this.#product(
        to,
        out.cols,
        this.#handles.get(weight),
        input.offset,
        input.tokenBytes,
        n,
        biasOffset,
        mode,
        1,
      );
    }
    for (let i = 0; i < this.#active; i++) {
      const { segment, m, h } = this.#segment(i);
      const input = this.#inputs[this.#panelType(segment.a.type)];
      this.#product(
        h,
        segment.rank,
        segment.a,
        input.offset,
        input.tokenBytes,
        n,
        0,
        Mode.store,
        m,
      );
    }
    this.#commands.meet();
  }

  /** Step 3. */
  #packRanks(n: number): void {
    for (let i = 0; i < this.#active; i++) {
      const { segment, h, packed } = this.#segment(i);
      if (packed === h) continue;
      const type = this.#panelType(segment.b.type);
      this.#commands.push(Op.pack[type], packed, h, segment.rank, n, segment.rank);
      this.#commands.joinNext();
    }
    this.#commands.meet();
  }

  /** Step 4. Products into one output are split over threads alike, so no thread waits for another's rows. */
  #recordBanks(n: number): void {
    for (let i = 0; i < this.#active; i++) {
      const { segment, m, out, packed } = this.#segment(i);
      const to = this.#handles.get(out).offset;
      const tokenBytes = panelBytes(this.#panelType(segment.b.type), segment.rank);
      this.#product(to, out.cols, segment.b, packed, tokenBytes, n, 0, Mode.continue, 1);
      if (segment.bias !== undefined) {
        this.#commands.meet();
        this.#commands.push(Op.addBias, to, out.cols, segment.bias.offset, n, segment.rows);
        this.#commands.float(5, m);
      }
    }
    this.#commands.meet();
  }

  /** out = scale · weight · x, stored as `mode` says; threads need not meet after it. */
  #product(
    out: number,
    outStride: number,
    { offset, type, rows, cols }: WasmMatrix,
    x: number,
    tokenBytes: number,
    n: number,
    bias: number,
    mode: number,
    scale: number,
  ): void {
    const commands = this.#commands;
    commands.push(
      Op.linear[type],
      out,
      outStride,
      offset,
      x,
      tokenBytes,
      n,
      rows,
      cols,
      bias,
      mode,
    );
    commands.float(10, scale);
    commands.joinNext();
  }

  /** Finds the segments with m ≠ 0, and places for their h. */
  #placeSegments(outputs: readonly LinearOutput[], n: number): void {
    this.#active = 0;
    let hBytes = 0;
    let packedBytes = 0;
    for (const { out, weight, bank } of outputs) {
      for (const entry of bank) {
        if (entry.m === 0) continue;
        const segment = this.#handles.get(entry.segment);
        requireBeside(segment, weight);
        this.#activate(segment, entry.m, out);
        hBytes += align(n * segment.rank * 4);
        packedBytes += align(n * panelBytes(this.#panelType(segment.b.type), segment.rank));
      }
    }
    if (this.#active === 0) return;
    let h = this.#scratch.get("h", hBytes);
    let packed = this.#scratch.get("packed h", packedBytes);
    for (let i = 0; i < this.#active; i++) {
      const place = this.#segment(i);
      const { rank, b } = place.segment;
      const type = this.#panelType(b.type);
      place.h = h;
      place.packed = type === "f32" && n < 4 ? h : packed;
      h += align(n * rank * 4);
      packed += align(n * panelBytes(type, rank));
    }
  }

  #activate(segment: WasmSegment, m: number, out: Tensor): void {
    const place = this.#segments[this.#active++];
    if (place === undefined) {
      this.#segments.push({ segment, m, out, h: 0, packed: 0 });
      return;
    }
    place.segment = segment;
    place.m = m;
    place.out = out;
  }

  #segment(index: number): ActiveSegment {
    return this.#segments[index] as ActiveSegment;
  }

  #panelType(type: WeightType): PanelType {
    if (type === "f32") return "f32";
    return type === "q4" && this.#relaxed ? "i8" : "i16";
  }
}

function requireShape(
  x: Tensor,
  n: number,
  out: Tensor,
  weight: { rows: number; cols: number },
): void {
  if (x.cols !== weight.cols || out.cols !== weight.rows || n > out.rows) {
    throw new Error(
      `product of [${n}, ${x.cols}] with [${weight.rows}, ${weight.cols}] into [${out.rows}, ${out.cols}]`,
    );
  }
}

function align(nBytes: number): number {
  return Math.ceil(nBytes / 16) * 16;
}
