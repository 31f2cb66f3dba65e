// The backward half of the wasm backend: records the operations of gradients.ts as commands. The arithmetic is in
// assembly/linear-backward.ts, attention-backward.ts and backward.ts.
import type { Rope, Tensor, Vector } from "../backend.ts";
import type { Gradients, LinearGradient } from "../gradients.ts";
import { requireBeside, requireNorms, requireRoom, requireWindow } from "./checks.ts";
import { Mode, Op } from "./commands.ts";
import type { WasmMatrix, WasmSegment } from "./handles.ts";
import type { Storage } from "./layout.ts";
import type { Recorder } from "./recorder.ts";

/** As assembly/linear-backward.ts numbers them. */
const STORAGES: Record<Storage, number> = { f32: 0, q8: 1, q4: 2, f16: 3, bf16: 4 };

interface EntryGradient {
  readonly segment: WasmSegment;
  readonly m: number;
  readonly slot: number;
  readonly dOut: Tensor;
  /** u = Bᵀ dOut [n, rank], g = Aᵀ u [n, cols] */
  readonly u: number;
  readonly g: number;
}

/** Scratch memory of every thread: thread t's lies t × nBytes behind the offset. */
interface ThreadRoom {
  readonly offset: number;
  readonly nBytes: number;
}

export class WasmGradients implements Gradients {
  readonly #recorder: Recorder;

  constructor(recorder: Recorder) {
    this.#recorder = recorder;
  }

  crossEntropy(
    logits: Tensor,
    losses: Tensor,
    targets: ArrayLike<number>,
    weights: ArrayLike<number>,
    n: number,
  ): void {
    const { scratch, arena, commands } = this.#recorder;
    requireRoom(logits, n, logits.cols);
    requireRoom(losses, n, 1);
    if (targets.length < n || weights.length < n) throw new Error(`fewer targets than ${n}`);
    const at = scratch.get("targets", n * 8, { fresh: true });
    for (let i = 0; i < n; i++) {
      const target = targets[i] as number;
      if (!(Number.isInteger(target) && target >= 0 && target < logits.cols)) {
        throw new Error(`target ${target} is outside 0..${logits.cols - 1}`);
      }
      arena.i32[at / 4 + i] = target;
      arena.f32[at / 4 + n + i] = weights[i] as number;
    }
    commands.push(
      Op.crossEntropy,
      this.#at(logits),
      this.#at(losses),
      at,
      at + n * 4,
      n,
      logits.cols,
    );
  }

  linearBackward(
    dX: Tensor,
    x: Tensor,
    dM: Tensor,
    n: number,
    products: readonly LinearGradient[],
    { accumulate = false, row = 0 }: { accumulate?: boolean; row?: number } = {},
  ): void {
    const { commands, threads } = this.#recorder;
    const { cols } = x;
    if (!Number.isInteger(row) || row < 0) throw new Error(`row ${row}`);
    requireRoom(x, row + n, cols);
    requireRoom(dX, row + n, cols);
    requireRoom(dM, 1, dM.cols);
    if (dX === x) throw new Error("dX is x");
    for (const product of products) this.#requireProduct(product, dX, dM, cols, n);
    const to = this.#at(dX) + row * cols * 4;
    const from = this.#at(x) + row * cols * 4;
    const entries = this.#placeEntries(products, n, cols);
    const room = this.#threadRoom(products);

    let mode: number = accumulate ? Mode.add : Mode.store;
    for (const { dOut, weight } of products) {
      this.#transposed(
        to,
        this.#recorder.handles.get(weight),
        this.#at(dOut),
        dOut.cols,
        n,
        mode,
        room,
      );
      mode = Mode.add;
    }
    for (const { segment, dOut, u } of entries) {
      this.#transposed(u, segment.b, this.#at(dOut), dOut.cols, n, Mode.store, room);
    }
    commands.meet();
    for (const { segment, u, g } of entries) {
      this.#transposed(g, segment.a, u, segment.rank, n, Mode.store, room);
    }
    commands.meet();
    const sums = this.#at(dM);
    for (const { segment, m, slot, dOut, g } of entries) {
      // One thread per slot, so that entries that share a slot add to it in order.
      const owner = slot % threads;
      if (m !== 0) {
        commands.push(Op.addScaled, to, g, n * cols);
        commands.float(3, m);
        commands.joinNext();
      }
      commands.push(Op.addDot, sums + slot * 4, g, from, n, cols, owner);
      commands.joinNext();
      if (segment.bias !== undefined) {
        const { offset } = segment.bias;
        commands.push(
          Op.addBiasDot,
          sums + slot * 4,
          this.#at(dOut),
          dOut.cols,
          offset,
          n,
          segment.rows,
          owner,
        );
        commands.joinNext();
      }
    }
    commands.meet();
  }

  rmsNormBackward(
    dX: Tensor,
    dOut: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
  ): void {
    const { commands } = this.#recorder;
    for (const tensor of [dX, dOut, x]) requireRoom(tensor, n, x.cols);
    const [to, from] = [this.#at(dX), this.#at(dOut)];
    const [input, scale] = [this.#at(x), this.#at(weight)];
    const rows = n * requireNorms(x.cols, weight.length);
    commands.push(Op.rmsNormBackward, to, from, input, scale, rows, weight.length);
    commands.float(6, eps);
  }

  ropeBackward(dX: Tensor, n: number, rope: Rope, position: number): void {
    requireRoom(dX, n, dX.cols);
    recordRope(this.#recorder, dX, 0, n, rope, position, -1);
  }

  attentionBackward(
    dQ: Tensor,
    dK: Tensor,
    dV: Tensor,
    dOut: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    headDim: number,
    n: number,
    window?: number,
  ): void {
    const { commands, scratch, threads } = this.#recorder;
    const [heads, kvHeads] = [q.cols / headDim, k.cols / headDim];
    if (!Number.isInteger(heads) || !Number.isInteger(heads / kvHeads)) {
      throw new Error(`${q.cols} and ${k.cols} columns are no heads of ${headDim}`);
    }
    for (const tensor of [dQ, dOut, q]) requireRoom(tensor, n, q.cols);
    for (const tensor of [dK, dV, k, v]) requireRoom(tensor, n, k.cols);
    const [np, dp] = [Math.ceil(n / 8) * 8, Math.ceil(headDim / 8) * 8];
    const room = scratch.get(
      "attention backward",
      threads * (128 + 4 * (8 * np * dp + 2 * np * np)),
    );
    commands.push(
      Op.attentionBackward,
      this.#at(dQ),
      this.#at(dK),
      this.#at(dV),
      this.#at(dOut),
      this.#at(q),
      this.#at(k),
      this.#at(v),
      n,
      heads,
      kvHeads,
      headDim,
      0,
      room,
    );
    commands.float(11, 1 / Math.sqrt(headDim));
    commands.integer(13, requireWindow(window));
  }

  siluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    this.#gateBackward(Op.siluMulBackward, dGate, dUp, dOut, gate, up, n);
  }

  geluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    this.#gateBackward(Op.geluMulBackward, dGate, dUp, dOut, gate, up, n);
  }

  #gateBackward(
    op: number,
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    for (const tensor of [dGate, dUp, dOut, gate, up]) requireRoom(tensor, n, gate.cols);
    this.#recorder.commands.push(
      op,
      this.#at(dGate),
      this.#at(dUp),
      this.#at(dOut),
      this.#at(gate),
      this.#at(up),
      n * gate.cols,
    );
  }

  clear(x: Tensor, n: number): void {
    const { arena, run } = this.#recorder;
    requireRoom(x, n, x.cols);
    run();
    const start = this.#at(x) / 4;
    arena.f32.fill(0, start, start + n * x.cols);
  }

  copy(to: Tensor, from: Tensor, n: number): void {
    const { arena, run } = this.#recorder;
    requireRoom(from, n, from.cols);
    requireRoom(to, n, from.cols);
    run();
    const start = this.#at(from) / 4;
    arena.f32.copyWithin(this.#at(to) / 4, start, start + n * from.cols);
  }

  #at(handle: Tensor | Vector): number {
    return this.#recorder.handles.get(handle as Tensor).offset;
  }

  /** out [n, weight.cols] [+]= dY W: threads need not meet after it yet. */
  #transposed(
    out: number,
    { offset, storage, rows, cols }: WasmMatrix,
    dY: number,
    stride: number,
    n: number,
    mode: number,
    room: ThreadRoom,
  ): void {
    const { commands } = this.#recorder;
    commands.push(
      Op.linearBackward,
      out,
      offset,
      STORAGES[storage],
      dY,
      stride,
      n,
      rows,
      cols,
      mode,
      room.offset,
      room.nBytes,
    );
    commands.joinNext();
  }

  /**
   * Room for 8 unpacked columns per thread, the same for every product of a call: threads run through the products at their own
   * pace, and each must stay within its own room.
   */
  #threadRoom(products: readonly LinearGradient[]): ThreadRoom {
    const { scratch, threads } = this.#recorder;
    const heights = products.flatMap(({ weight, bank }) => [
      weight.rows,
      ...bank.map(({ segment }) => segment.rank),
    ]);
    const nBytes = 128 + Math.ceil(Math.max(...heights) / 8) * 256;
    return { offset: scratch.get("unpacked", threads * nBytes), nBytes };
  }

  #placeEntries(
    products: readonly LinearGradient[],
    n: number,
    cols: number,
  ): readonly EntryGradient[] {
    const { handles, scratch } = this.#recorder;
    const found = products.flatMap(({ dOut, bank, slots }) =>
      bank.map(({ segment, m }, i) => ({
        segment: handles.get(segment),
        m,
        slot: slots[i] as number,
        dOut,
      })),
    );
    if (found.length === 0) return [];
    const ranks = found.reduce((sum, { segment }) => sum + segment.rank, 0);
    let u = scratch.get("u", n * ranks * 4 + found.length * 16);
    let g = scratch.get("g", found.length * (n * cols * 4 + 16));
    return found.map((entry) => {
      const placed = { ...entry, u, g };
      u += Math.ceil((n * entry.segment.rank * 4) / 16) * 16;
      g += Math.ceil((n * cols * 4) / 16) * 16;
      return placed;
    });
  }

  #requireProduct(
    { dOut, weight, bank, slots }: LinearGradient,
    dX: Tensor,
    dM: Tensor,
    cols: number,
    n: number,
  ): void {
    requireRoom(dOut, n, weight.rows);
    if (dOut === dX) throw new Error("dOut is dX");
    if (weight.cols !== cols) throw new Error(`weight has ${weight.cols} columns, x ${cols}`);
    if (slots.length !== bank.length) throw new Error(`${slots.length} slots`);
    for (const { segment } of bank) requireBeside(segment, weight);
    for (const slot of slots) {
      if (!(Number.isInteger(slot) && slot >= 0 && slot < dM.cols)) {
        throw new Error(`slot ${slot} of ${dM.cols}`);
      }
    }
  }
}

/** Rotary embedding of n rows from `row` on, forward (direction 1) or its transpose (-1). */
export function recordRope(
  { handles, commands, captures }: Recorder,
  x: Tensor,
  row: number,
  n: number,
  rope: Rope,
  position: number,
  direction: 1 | -1,
): void {
  const heads = x.cols / rope.headDim;
  if (!Number.isInteger(heads)) {
    throw new Error(`${x.cols} columns are no multiple of ${rope.headDim}`);
  }
  if (position < 0 || position + n > rope.length) {
    throw new Error(`positions ${position}..${position + n - 1} of ${rope.length}`);
  }
  commands.push(
    Op.rope,
    handles.get(x).offset + row * x.cols * 4,
    n,
    heads,
    rope.headDim / 2,
    handles.get(rope).offset,
    position,
  );
  commands.float(6, direction);
  captures.position(5);
}
