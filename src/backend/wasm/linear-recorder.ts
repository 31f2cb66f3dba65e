// Records products that share their input, with their banks:
//   1. the input is packed once for every kind of weight that reads it;
//   2. all base products W x, and h = m (A x) of every active segment: none depends on another;
//   3. every h is packed;
//   4. out += B h, segment by segment.
// Threads meet after each step. The bank reads the packed input that is there already: no extra pass over the activations.
import type { LinearOutput, Tensor, WeightType } from "../backend.ts";
import { BankRecorder, isReadInPlace, type Panels } from "./bank-recorder.ts";
import { Mode, Op } from "./commands.ts";
import { type PanelType, panelBytes, panelType, type Storage, WEIGHT_TYPES } from "./layout.ts";
import type { Recorder } from "./recorder.ts";

const INPUT = { f32: "input f32", i16: "input i16", i8: "input i8" } as const;
const PANEL_TYPES = ["f32", "i16", "i8"] as const;
const GROUPED = { f32: "groups f32", i16: "groups i16", i8: "groups i8" } as const;

const createPanels = (): Record<PanelType, Panels> => ({
  f32: { offset: 0, tokenBytes: 0, ready: false },
  i16: { offset: 0, tokenBytes: 0, ready: false },
  i8: { offset: 0, tokenBytes: 0, ready: false },
});

/** Records live as long as the recorder: a decoder calls it a hundred times per token. */
export class LinearRecorder {
  readonly #recorder: Recorder;
  readonly #bank: BankRecorder;
  readonly #relaxed: boolean;
  readonly #inputs: Readonly<Record<PanelType, Panels>> = createPanels();
  readonly #grouped: Readonly<Record<PanelType, Panels>> = createPanels();

  constructor(recorder: Recorder, relaxed: boolean) {
    this.#recorder = recorder;
    this.#bank = new BankRecorder(recorder, relaxed);
    this.#relaxed = relaxed;
  }

  /** As `Backend.linear`. */
  record(x: Tensor, n: number, outputs: readonly LinearOutput[], row: number): void {
    const from = this.#recorder.handles.get(x).offset + row * x.cols * 4;
    for (const { out, weight } of outputs) requireShape(x, n, out, weight);
    const { commands } = this.#recorder;
    const bank = this.#bank;
    bank.place(outputs, n);
    this.#packInputs(from, x.cols, n, outputs);
    commands.meet();
    this.#recordBase(n, outputs);
    if (!bank.isEmpty) {
      const inputs = bank.needsOwnPanels(n) ? this.#grouped : this.#inputs;
      for (const type of WEIGHT_TYPES)
        bank.recordDown(type, inputs[panelType(type, this.#relaxed)]);
      commands.meet();
      bank.recordPack();
      commands.meet();
      bank.recordUp();
    }
    commands.meet();
  }

  /** Where a tile of 16-bit floats becomes f32 for all panels, in each thread. */
  #room(storage: Storage, n: number, cols: number): number {
    if ((storage !== "f16" && storage !== "bf16") || n < 4) return 0;
    return this.#recorder.scratch.get("tile", this.#recorder.threads * (16 + 32 * cols));
  }

  /** Step 1. */
  #packInputs(from: number, cols: number, n: number, outputs: readonly LinearOutput[]): void {
    for (const type of PANEL_TYPES) {
      this.#inputs[type].ready = false;
      this.#grouped[type].ready = false;
    }
    for (const { weight } of outputs) this.#packInput(weight.type, from, cols, n);
    for (const type of WEIGHT_TYPES) {
      if (!this.#bank.uses(type)) continue;
      if (this.#bank.needsOwnPanels(n)) this.#packGroups(type, from, cols, n);
      else this.#packInput(type, from, cols, n);
    }
  }

  #packInput(weight: WeightType, from: number, cols: number, n: number): void {
    const type = panelType(weight, this.#relaxed);
    const input = this.#inputs[type];
    if (input.ready) return;
    input.ready = true;
    input.tokenBytes = panelBytes(type, cols);
    if (isReadInPlace(type, n)) {
      input.offset = from;
      return;
    }
    input.offset = this.#recorder.scratch.get(INPUT[type], n * input.tokenBytes);
    this.#recorder.commands.push(Op.pack[type], input.offset, from, cols, n, cols);
    this.#recorder.commands.joinNext();
  }

  #packGroups(weight: WeightType, from: number, cols: number, n: number): void {
    const type = panelType(weight, this.#relaxed);
    const input = this.#grouped[type];
    input.tokenBytes = panelBytes(type, cols);
    input.offset = this.#recorder.scratch.get(GROUPED[type], n * input.tokenBytes);
    for (let i = 0; i < this.#bank.groupCount; i++) {
      const { row, n: rows } = this.#bank.group(i);
      const to = input.offset + row * input.tokenBytes;
      this.#recorder.commands.push(Op.pack[type], to, from + row * cols * 4, cols, rows, cols);
      this.#recorder.commands.joinNext();
    }
  }

  /** W x of step 2. */
  #recordBase(n: number, outputs: readonly LinearOutput[]): void {
    for (const { out, weight, bias, accumulate } of outputs) {
      const { offset, type, storage, rows, cols } = this.#recorder.handles.get(weight);
      const input = this.#inputs[panelType(type, this.#relaxed)];
      this.#recorder.commands.push(
        Op.linear[storage],
        this.#recorder.handles.get(out).offset,
        out.cols,
        0, // its only part follows
        1,
        n,
        rows,
        bias === undefined ? 0 : this.#recorder.handles.get(bias).offset,
        accumulate === true ? Mode.add : Mode.store,
        offset,
        input.offset,
        input.tokenBytes,
        cols,
        this.#room(storage, n, cols),
      );
      this.#recorder.commands.joinNext();
    }
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
