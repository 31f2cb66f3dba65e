// Records products that share their input, with their banks:
//   1. the input is packed once for every kind of weight that reads it;
//   2. all base products W x, and h = m (A x) of every active segment: none depends on another;
//   3. every h is packed;
//   4. out += B h, segment by segment.
// Threads meet after each step. The bank reads the packed input that is there already: no extra pass over the activations.
import type { LinearOutput, Tensor, WeightType } from "../backend.ts";
import { type CommandList, Mode, Op } from "./commands.ts";
import type { HandleRegistry, WasmSegment } from "./handles.ts";
import { type PanelType, panelBytes } from "./layout.ts";
import type { Scratch } from "./scratch.ts";

type Push = (op: number, ...args: readonly number[]) => void;

/** A packed activation: its address and bytes per token. */
interface Panels {
  readonly offset: number;
  readonly tokenBytes: number;
}

/** A segment with m ≠ 0 on its way through steps 2 to 4. */
interface ActiveSegment {
  readonly segment: WasmSegment;
  readonly m: number;
  readonly out: Tensor;
  /** h [n, rank] f32 */
  readonly h: number;
  readonly packed: Panels;
}

export class LinearRecorder {
  readonly #handles: HandleRegistry;
  readonly #scratch: Scratch;
  readonly #relaxed: boolean;

  constructor(handles: HandleRegistry, scratch: Scratch, relaxed: boolean) {
    this.#handles = handles;
    this.#scratch = scratch;
    this.#relaxed = relaxed;
  }

  record(
    x: Tensor,
    n: number,
    outputs: readonly LinearOutput[],
    row: number,
    push: Push,
    commands: CommandList,
  ): void {
    for (const { out, weight } of outputs) requireShape(x, n, out, weight);
    const from = this.#handles.get(x).offset + row * x.cols * 4;
    const segments = this.#placeSegments(outputs, n);
    const inputs = this.#packInput(from, x.cols, n, outputs, segments, push, commands);

    for (const { out, weight, bias, accumulate } of outputs) {
      const { offset, type, rows, cols } = this.#handles.get(weight);
      const biasOffset = bias === undefined ? 0 : this.#handles.get(bias).offset;
      const mode = accumulate === true ? Mode.add : Mode.store;
      this.#product(push, commands, out, offset, type, inputs, n, rows, cols, biasOffset, mode, 1);
    }
    for (const { segment, m, h } of segments) {
      const { offset, type, rows, cols } = segment.a;
      const input = inputs.get(this.#panelType(type)) as Panels;
      push(
        Op.linear[type],
        h,
        rows,
        offset,
        input.offset,
        input.tokenBytes,
        n,
        rows,
        cols,
        0,
        Mode.store,
      );
      commands.float(10, m);
      commands.joinNext();
    }
    commands.meet();
    if (segments.length === 0) return;

    for (const { segment, h, packed } of segments) {
      const type = this.#panelType(segment.b.type);
      if (packed.offset !== h) {
        push(Op.pack[type], packed.offset, h, segment.rank, n, segment.rank);
        commands.joinNext();
      }
    }
    commands.meet();

    for (const { segment, m, out, packed } of segments) {
      const { offset, type, rows, cols } = segment.b;
      const to = this.#handles.get(out).offset;
      push(
        Op.linear[type],
        to,
        out.cols,
        offset,
        packed.offset,
        packed.tokenBytes,
        n,
        rows,
        cols,
        0,
        Mode.continue,
      );
      commands.float(10, 1);
      // Products into one output are split over threads alike, so no thread waits for another's rows.
      if (segment.bias === undefined) {
        commands.joinNext();
      } else {
        push(Op.addBias, to, out.cols, segment.bias.offset, n, rows);
        commands.float(5, m);
      }
    }
    commands.meet();
  }

  #product(
    push: Push,
    commands: CommandList,
    out: Tensor,
    offset: number,
    type: WeightType,
    inputs: ReadonlyMap<PanelType, Panels>,
    n: number,
    rows: number,
    cols: number,
    bias: number,
    mode: number,
    scale: number,
  ): void {
    const to = this.#handles.get(out).offset;
    const input = inputs.get(this.#panelType(type)) as Panels;
    push(
      Op.linear[type],
      to,
      out.cols,
      offset,
      input.offset,
      input.tokenBytes,
      n,
      rows,
      cols,
      bias,
      mode,
    );
    commands.float(10, scale);
    commands.joinNext();
  }

  /** Packs x for every kind of weight in the group. f32 rows that form no full panel are read where they lie. */
  #packInput(
    from: number,
    cols: number,
    n: number,
    outputs: readonly LinearOutput[],
    segments: readonly ActiveSegment[],
    push: Push,
    commands: CommandList,
  ): Map<PanelType, Panels> {
    const types = new Set<PanelType>();
    for (const { weight } of outputs) types.add(this.#panelType(weight.type));
    for (const { segment } of segments) types.add(this.#panelType(segment.a.type));
    const inputs = new Map<PanelType, Panels>();
    for (const type of types) {
      const tokenBytes = panelBytes(type, cols);
      if (type === "f32" && n < 4) {
        inputs.set(type, { offset: from, tokenBytes });
        continue;
      }
      const offset = this.#scratch.get(`input ${type}`, n * tokenBytes);
      push(Op.pack[type], offset, from, cols, n, cols);
      commands.joinNext();
      inputs.set(type, { offset, tokenBytes });
    }
    commands.meet();
    return inputs;
  }

  /** Finds the segments with m ≠ 0, and places for their h. */
  #placeSegments(outputs: readonly LinearOutput[], n: number): ActiveSegment[] {
    const found: { segment: WasmSegment; m: number; out: Tensor }[] = [];
    let hBytes = 0;
    let packedBytes = 0;
    for (const { out, weight, bank } of outputs) {
      for (const { segment, m } of bank) {
        if (m === 0) continue;
        const known = this.#handles.get(segment);
        if (known.rows !== weight.rows || known.cols !== weight.cols) {
          throw new Error(
            `segment [${known.rows}, ${known.cols}] beside matrix [${weight.rows}, ${weight.cols}]`,
          );
        }
        found.push({ segment: known, m, out });
        hBytes += align(n * known.rank * 4);
        packedBytes += align(n * panelBytes(this.#panelType(known.b.type), known.rank));
      }
    }
    if (found.length === 0) return [];
    let h = this.#scratch.get("h", hBytes);
    let packed = this.#scratch.get("packed h", packedBytes);
    return found.map(({ segment, m, out }) => {
      const type = this.#panelType(segment.b.type);
      const tokenBytes = panelBytes(type, segment.rank);
      const inPlace = type === "f32" && n < 4;
      const placed = { segment, m, out, h, packed: { offset: inPlace ? h : packed, tokenBytes } };
      h += align(n * segment.rank * 4);
      packed += align(n * tokenBytes);
      return placed;
    });
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
