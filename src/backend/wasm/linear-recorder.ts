// Records products that share their input, with their banks:
//   1. the input is packed once for every kind of weight that reads it;
//   2. all base products W x, and h = m (A x) of every active segment: none depends on another;
//   3. every h is packed;
//   4. out += B h, segment by segment.
// Threads meet after each step. The bank reads the packed input that is there already: no extra pass over the activations.
//
// Where m is given per row, the rows fall into *groups* in which every segment has one m. A group goes through steps 1 to 4 as a
// call of its own would, so it gets the same bits; only W x is taken over all rows at once, which is what a batch is for. Where
// no m is 0, as in blends of the same adapters, steps 3 and 4 take all rows at once, too: only h = m (A x) differs by group.
import type { LinearOutput, Tensor, WeightType } from "../backend.ts";
import { requireBeside } from "./checks.ts";
import { type CommandList, Mode, Op } from "./commands.ts";
import type { HandleRegistry, WasmMatrix, WasmSegment } from "./handles.ts";
import { type PanelType, panelBytes } from "./layout.ts";
import type { Scratch } from "./scratch.ts";

/** Packed activations of all rows or all groups: rows from `row` on lie at row × tokenBytes. */
interface Panels {
  offset: number;
  tokenBytes: number;
  /** Packed by the call at hand. */
  ready: boolean;
}

/** A segment with m ≠ 0 for the rows of a group, on its way through steps 2 to 4. */
interface ActiveSegment {
  segment: WasmSegment;
  m: number;
  out: Tensor;
  /** The group. */
  row: number;
  n: number;
  /** Rows from `row` on that steps 3 and 4 take; 0 if the segment's first group takes them. */
  taken: number;
  /** h [n, rank] f32 */
  h: number;
  packed: number;
}

const INPUT = { f32: "input f32", i16: "input i16", i8: "input i8" } as const;
const PANEL_TYPES = ["f32", "i16", "i8"] as const;
const GROUPED = { f32: "groups f32", i16: "groups i16", i8: "groups i8" } as const;

const createPanels = (): Record<PanelType, Panels> => ({
  f32: { offset: 0, tokenBytes: 0, ready: false },
  i16: { offset: 0, tokenBytes: 0, ready: false },
  i8: { offset: 0, tokenBytes: 0, ready: false },
});

/** Lists and records live as long as the recorder: a decoder calls it a hundred times per token. */
export class LinearRecorder {
  readonly #handles: HandleRegistry;
  readonly #scratch: Scratch;
  readonly #commands: CommandList;
  readonly #relaxed: boolean;
  readonly #inputs: Readonly<Record<PanelType, Panels>> = createPanels();
  readonly #grouped: Readonly<Record<PanelType, Panels>> = createPanels();
  readonly #segments: ActiveSegment[] = [];
  /** How many of `#segments` the call at hand uses. */
  #active = 0;
  /** Where groups begin; the number of rows at the end. */
  readonly #bounds: number[] = [];
  #groups = 0;

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
    this.#findGroups(outputs, n);
    this.#placeSegments(outputs, n);
    this.#packInputs(from, x.cols, n, outputs);
    this.#recordProducts(n, outputs);
    if (this.#active === 0) return;
    this.#packRanks();
    this.#recordBanks();
  }

  /** A group ends where any segment's m changes. */
  #findGroups(outputs: readonly LinearOutput[], n: number): void {
    this.#groups = 0;
    for (let end = 1; end < n; end++) {
      if (changesAt(outputs, end)) this.#bounds[++this.#groups] = end;
    }
    this.#bounds[0] = 0;
    this.#bounds[++this.#groups] = n;
  }

  /** Step 1. */
  #packInputs(from: number, cols: number, n: number, outputs: readonly LinearOutput[]): void {
    for (const type of PANEL_TYPES) {
      this.#inputs[type].ready = false;
      this.#grouped[type].ready = false;
    }
    for (const { weight } of outputs) this.#packInput(weight.type, from, cols, n);
    for (let i = 0; i < this.#active; i++) {
      const { type } = this.#segment(i).segment.a;
      if (this.#isGrouped(n)) this.#packGroups(type, from, cols, n);
      else this.#packInput(type, from, cols, n);
    }
    this.#commands.meet();
  }

  /** Rows that form no panel of 4 are packed one by one: then a group lies in the panels of all rows as in its own. */
  #isGrouped(n: number): boolean {
    return this.#groups > 1 && n >= 4;
  }

  /** f32 rows that form no panel of 4 are read where they lie. */
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

  #packGroups(weight: WeightType, from: number, cols: number, n: number): void {
    const type = this.#panelType(weight);
    const input = this.#grouped[type];
    if (input.ready) return;
    input.ready = true;
    input.tokenBytes = panelBytes(type, cols);
    input.offset = this.#scratch.get(GROUPED[type], n * input.tokenBytes);
    for (let group = 0; group < this.#groups; group++) {
      const row = this.#bounds[group] as number;
      const rows = (this.#bounds[group + 1] as number) - row;
      const to = input.offset + row * input.tokenBytes;
      this.#commands.push(Op.pack[type], to, from + row * cols * 4, cols, rows, cols);
      this.#commands.joinNext();
    }
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
    const inputs = this.#isGrouped(n) ? this.#grouped : this.#inputs;
    for (let i = 0; i < this.#active; i++) {
      const { segment, m, h, row, n: rows } = this.#segment(i);
      const { offset, tokenBytes } = inputs[this.#panelType(segment.a.type)];
      const from = offset + row * tokenBytes;
      this.#product(h, segment.rank, segment.a, from, tokenBytes, rows, 0, Mode.store, m);
    }
    this.#commands.meet();
  }

  /** Step 3. */
  #packRanks(): void {
    for (let i = 0; i < this.#active; i++) {
      const { segment, h, packed, taken } = this.#segment(i);
      if (packed === h || taken === 0) continue;
      const type = this.#panelType(segment.b.type);
      this.#commands.push(Op.pack[type], packed, h, segment.rank, taken, segment.rank);
      this.#commands.joinNext();
    }
    this.#commands.meet();
  }

  /** Step 4. Products into one group of one output are split over threads alike, so no thread waits for another's rows. */
  #recordBanks(): void {
    for (let i = 0; i < this.#active; i++) {
      const { segment, m, out, packed, row, taken } = this.#segment(i);
      if (taken === 0) continue;
      const to = this.#handles.get(out).offset + row * out.cols * 4;
      const tokenBytes = panelBytes(this.#panelType(segment.b.type), segment.rank);
      this.#product(to, out.cols, segment.b, packed, tokenBytes, taken, 0, Mode.continue, 1);
      if (segment.bias !== undefined) {
        this.#commands.meet();
        this.#commands.push(Op.addBias, to, out.cols, segment.bias.offset, taken, segment.rows);
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

  /** Finds the segments with m ≠ 0, group by group, and places for their h. */
  #placeSegments(outputs: readonly LinearOutput[], n: number): void {
    this.#active = 0;
    const joined = this.#groups > 1 && this.#canJoin(outputs, n);
    let hBytes = 0;
    let packedBytes = 0;
    for (const { out, weight, bank } of outputs) {
      for (const { segment: handle, m } of bank) {
        if (m === 0) continue;
        const segment = this.#handles.get(handle);
        requireBeside(segment, weight);
        requireNumbers(m, n);
        for (let group = 0; group < this.#groups; group++) {
          const row = this.#bounds[group] as number;
          const scale = typeof m === "number" ? m : (m[row] as number);
          if (scale === 0) continue;
          const rows = (this.#bounds[group + 1] as number) - row;
          const taken = joined ? (group === 0 ? n : 0) : rows;
          this.#activate(segment, scale, out, row, rows, taken);
          hBytes += align(taken * segment.rank * 4);
          packedBytes += align(taken * panelBytes(this.#panelType(segment.b.type), segment.rank));
        }
      }
    }
    if (this.#active === 0) return;
    let h = this.#scratch.get("h", hBytes);
    let packed = this.#scratch.get("packed h", packedBytes);
    let first = h;
    for (let i = 0; i < this.#active; i++) {
      const place = this.#segment(i);
      const { rank, b } = place.segment;
      if (place.taken === 0) {
        place.h = first + place.row * rank * 4;
        continue;
      }
      const type = this.#panelType(b.type);
      first = h;
      place.h = h;
      place.packed = type === "f32" && place.taken < 4 ? h : packed;
      h += align(place.taken * rank * 4);
      packed += align(place.taken * panelBytes(type, rank));
    }
  }

  /** Whether every segment takes part in all rows or none, and adds no m × bias. */
  #canJoin(outputs: readonly LinearOutput[], n: number): boolean {
    for (const { bank } of outputs) {
      for (const { segment, m } of bank) {
        if (typeof m !== "number" && isMixed(m, n)) return false;
        if (this.#handles.get(segment).bias !== undefined) return false;
      }
    }
    return true;
  }

  #activate(
    segment: WasmSegment,
    m: number,
    out: Tensor,
    row: number,
    n: number,
    taken: number,
  ): void {
    const place = this.#segments[this.#active++];
    if (place === undefined) {
      this.#segments.push({ segment, m, out, row, n, taken, h: 0, packed: 0 });
      return;
    }
    place.segment = segment;
    place.m = m;
    place.out = out;
    place.row = row;
    place.n = n;
    place.taken = taken;
  }

  #segment(index: number): ActiveSegment {
    return this.#segments[index] as ActiveSegment;
  }

  #panelType(type: WeightType): PanelType {
    if (type === "f32") return "f32";
    return type === "q4" && this.#relaxed ? "i8" : "i16";
  }
}

/** Whether any segment's m at row `row` differs from the row before. */
function changesAt(outputs: readonly LinearOutput[], row: number): boolean {
  for (const { bank } of outputs) {
    for (const { m } of bank) if (typeof m !== "number" && m[row] !== m[row - 1]) return true;
  }
  return false;
}

/** Whether some but not all of the first n numbers are 0. */
function isMixed(m: ArrayLike<number>, n: number): boolean {
  for (let i = 1; i < n; i++) if ((m[i] === 0) !== (m[0] === 0)) return true;
  return false;
}

function requireNumbers(m: number | ArrayLike<number>, n: number): void {
  if (typeof m === "number" || m.length >= n) return;
  throw new Error(`m has ${m.length} numbers for ${n} rows`);
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
