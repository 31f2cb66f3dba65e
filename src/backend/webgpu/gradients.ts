// The backward pass on the GPU, one shader per formula of gradients.ts. Matrices are dequantized as they are read and activations
// not rounded, as the contract has it; so a segment's A and B can be read by the shaders of base weights.
import type { Rope, Tensor, Vector } from "../backend.ts";
import type { Gradients, LinearGradient } from "../gradients.ts";
import { requireBeside, requireNorms, requireRoom, requireWindow } from "../wasm/checks.ts";
import { specializeWeights } from "./compose.ts";
import type { Core } from "./core.ts";
import { NONE } from "./dispatch-list.ts";
import type { GpuKvCache, GpuSegment, GpuTensor } from "./handles.ts";
import { planeSize, type Storage, unitCount, VEC4 } from "./layout.ts";
import type { PlainOp } from "./operations.ts";

/** Workgroups that stride over elements. */
const MOST_GROUPS = 1024;
/** Columns of a tile of product-transposed.wgsl. */
const TILE = 32;

/** Rotation without a cache. */
const NO_CACHE = { length: 0, kvHeads: 0, headDim: 0, places: [] } as unknown as GpuKvCache;

/** A matrix, or a part of one, as shaders address it. */
interface Place {
  readonly weights: GPUBuffer;
  readonly matrix: number;
  readonly storage: Storage;
  readonly rows: number;
  readonly cols: number;
}

export class GpuGradients implements Gradients {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  crossEntropy(
    logits: Tensor,
    losses: Tensor,
    targets: ArrayLike<number>,
    weights: ArrayLike<number>,
    n: number,
  ): void {
    const [from, to] = [this.#rows(logits, n, logits.cols), this.#rows(losses, n, 1)];
    if (targets.length < n || weights.length < n) throw new Error(`fewer targets than ${n}`);
    const list = new Uint32Array(2 * n);
    const floats = new Float32Array(list.buffer);
    for (let i = 0; i < n; i++) {
      const target = targets[i]!;
      if (!(Number.isInteger(target) && target >= 0 && target < from.cols)) {
        throw new Error(`target ${target} is outside 0..${from.cols - 1}`);
      }
      list[i] = target;
      floats[n + i] = weights[i]!;
    }
    const params = [from.at, to.at, from.cols, n];
    this.#push({ shader: "cross-entropy", groups: [n, 1, 1], params, list });
  }

  linearBackward(
    dX: Tensor,
    x: Tensor,
    dM: Tensor,
    n: number,
    products: readonly LinearGradient[],
    { accumulate = false, row = 0 }: { accumulate?: boolean; row?: number } = {},
  ): void {
    const { handles } = this.#core;
    const input = this.#rows(x, row + n, x.cols);
    const to = this.#rows(dX, row + n, x.cols);
    const sums = this.#rows(dM, 1, dM.cols);
    if (row < 0 || dX === x) throw new Error(`linearBackward: row ${row}, or dX is x`);
    for (const { dOut, weight, bank, slots } of products) {
      if (dOut === dX || weight.cols !== x.cols || slots.length !== bank.length) {
        throw new Error(`linearBackward: weight has ${weight.cols} columns, x ${x.cols}`);
      }
      this.#rows(dOut, n, weight.rows);
      handles.get(weight);
      bank.forEach(({ segment }, i) => {
        requireBeside(handles.get(segment), weight);
        const slot = slots[i]!;
        if (!(Number.isInteger(slot) && slot >= 0 && slot < sums.cols)) {
          throw new Error(`linearBackward: slot ${slot} of ${sums.cols}`);
        }
      });
    }
    const start = row * x.cols;
    let adding = accumulate;
    for (const { dOut, weight, bank, slots } of products) {
      const { at: y } = handles.get(dOut);
      const matrix = handles.get(weight);
      for (const { buffer, offset, row0, rows } of matrix.parts) {
        const place = { weights: buffer, matrix: offset / VEC4, storage: matrix.storage, rows };
        const part = { ...place, cols: matrix.cols };
        this.#transposed(to.at + start, y + row0, dOut.cols, n, part, adding, 1);
        adding = true;
      }
      bank.forEach(({ segment, m }, i) => {
        const own = handles.get(segment);
        this.#segment(own, m, sums.at + slots[i]!, y, input.at + start, to.at + start, n);
      });
    }
    if (!adding) this.#copy(to.at + start, NONE, n * x.cols); // no products
  }

  /** u = Bᵀ dOut, h = A x; dM[slot] += ⟨u, h⟩ + ⟨dOut, bias⟩; dX += m Aᵀ u */
  #segment(
    { type, rank, rows, cols, a, b, bias, heap }: GpuSegment,
    m: number,
    slot: number,
    dOut: number,
    x: number,
    dX: number,
    n: number,
  ): void {
    const { scratch } = this.#core;
    const weights = heap.buffer;
    const [u, h] = [scratch.get("dH", n * rank), scratch.get("A x", n * rank)];
    const [matrixA, matrixB] = [
      { weights, matrix: a, storage: type, rows: rank, cols },
      { weights, matrix: b, storage: type, rows, cols: rank },
    ];
    this.#transposed(u, dOut, rows, n, matrixB, false, 1);
    const params = [h, x, cols, a, planeSize(type, rank, cols), unitCount(type, cols), rank];
    const groups = [Math.ceil(rank / this.#core.threads), n, 1] as const;
    this.#push({ shader: `product-${type}`, groups, params, weights });
    this.#dotAdd(slot, u, h, n * rank, n * rank);
    if (bias !== undefined) this.#dotAdd(slot, dOut, bias.at, n * rows, rows);
    if (m !== 0) this.#transposed(dX, u, rank, n, matrixA, true, m);
  }

  rmsNormBackward(
    dX: Tensor,
    dOut: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
  ): void {
    const [to, from, input] = [dX, dOut, x].map((tensor) => this.#rows(tensor, n, x.cols));
    const scale = this.#core.handles.get(weight);
    const params = [to!.at, from!.at, input!.at, scale.at, weight.length, { f32: eps }];
    const groups = [requireNorms(x.cols, weight.length), n, 1] as const;
    this.#push({ shader: "rmsnorm-backward", groups, params });
  }

  ropeBackward(dX: Tensor, n: number, rope: Rope, position: number): void {
    const x = this.#rows(dX, n, dX.cols);
    const table = this.#core.handles.get(rope);
    if (dX.cols % rope.headDim !== 0 || position < 0 || position + n > rope.length) {
      throw new Error(
        `ropeBackward: positions ${position}..${position + n - 1}, ${dX.cols} columns`,
      );
    }
    if (n === 0) return;
    const spans = [{ cache: NO_CACHE, position, n, row: 0 }];
    this.#core.push({ kind: "rope", x, rope: table, spans, backward: true });
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
    const [cols, kvCols] = [q.cols, k.cols];
    const query = { q: this.#rows(q, n, cols), dOut: this.#rows(dOut, n, cols) };
    const [toQ, key, value] = [
      this.#rows(dQ, n, cols),
      this.#rows(k, n, kvCols),
      this.#rows(v, n, kvCols),
    ];
    const [toK, toV] = [this.#rows(dK, n, kvCols), this.#rows(dV, n, kvCols)];
    const overlap = new Set([dQ, dK, dV, dOut, q, k, v]).size < 7;
    if (overlap || kvCols % headDim !== 0 || cols % kvCols !== 0) {
      throw new Error(`attentionBackward: q ${cols}, k ${kvCols} columns, heads of ${headDim}`);
    }
    const share = cols / kvCols;
    const { scratch } = this.#core;
    const probabilities = scratch.get("P", share * n * n);
    const dScores = scratch.get("dS", share * n * n);
    for (let kvHead = 0; kvHead < kvCols / headDim; kvHead++) {
      const first = kvHead * share * headDim;
      const kvFirst = kvHead * headDim;
      const scale = { f32: 1 / Math.sqrt(headDim) };
      const shape = [n, cols, kvCols, headDim, scale, requireWindow(window)];
      const inputs = [query.q.at + first, key.at + kvFirst, value.at + kvFirst];
      this.#push({
        shader: "attention-backward",
        groups: [n, share, 1],
        params: [...inputs, query.dOut.at + first, probabilities, dScores, ...shape],
      });
      const sum = (groups: readonly [number, number, number], ...params: readonly number[]): void =>
        this.#push({ shader: "attention-backward-sum", groups, params });
      const tail = [n, headDim];
      sum([n, share, 1], toQ.at + first, cols, dScores, key.at + kvFirst, kvCols, ...tail, 0);
      sum([n, 1, 1], toK.at + kvFirst, kvCols, dScores, query.q.at + first, cols, ...tail, share);
      sum(
        [n, 1, 1],
        toV.at + kvFirst,
        kvCols,
        probabilities,
        query.dOut.at + first,
        cols,
        ...tail,
        share,
      );
    }
  }

  siluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    this.#gateBackward([dGate, dUp, dOut, gate, up], n, 0);
  }

  geluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    this.#gateBackward([dGate, dUp, dOut, gate, up], n, 1);
  }

  #gateBackward(
    tensors: readonly [Tensor, Tensor, Tensor, Tensor, Tensor],
    n: number,
    gelu: 0 | 1,
  ): void {
    const [dGate, dUp, dOut, gate, up] = tensors;
    const places = tensors.map((tensor) => this.#rows(tensor, n, dOut.cols).at);
    if (dUp === dGate || dUp === dOut || dUp === gate || dGate === up) {
      throw new Error("gated activation, backward: tensors overlap");
    }
    const size = n * dOut.cols;
    const params = [...places, size, gelu];
    this.#push({ shader: "silu-mul-backward", groups: this.#strided(size), params });
  }

  clear(x: Tensor, n: number): void {
    this.#copy(this.#rows(x, n, x.cols).at, NONE, n * x.cols);
  }

  copy(to: Tensor, from: Tensor, n: number): void {
    const source = this.#rows(from, n, from.cols);
    this.#copy(this.#rows(to, n, from.cols).at, source.at, n * from.cols);
  }

  #rows(tensor: Tensor, n: number, cols: number): GpuTensor {
    this.#core.check();
    const handle = this.#core.handles.get(tensor);
    requireRoom(tensor, n, cols);
    return handle;
  }

  /** out [n, cols] = [out +] factor · y W */
  #transposed(
    out: number,
    y: number,
    yStride: number,
    n: number,
    { weights, matrix, storage, rows, cols }: Place,
    accumulate: boolean,
    factor: number,
  ): void {
    const layout = [matrix, planeSize(storage, rows, cols), unitCount(storage, cols), rows];
    const params = [out, cols, y, yStride, n, ...layout, accumulate ? 1 : 0, { f32: factor }];
    const groups = [Math.ceil(cols / TILE), Math.ceil((2 * n) / this.#core.threads), 1] as const;
    const shader = specializeWeights("product-transposed", storage);
    this.#push({ shader, groups, params, weights });
  }

  #dotAdd(out: number, a: number, b: number, size: number, period: number): void {
    this.#push({ shader: "dot-add", groups: [1, 1, 1], params: [out, a, b, size, period] });
  }

  #copy(out: number, x: number, size: number): void {
    this.#push({ shader: "copy", groups: this.#strided(size), params: [out, x, size] });
  }

  #strided(size: number): readonly [number, number, number] {
    return [Math.min(MOST_GROUPS, Math.ceil(size / this.#core.threads)), 1, 1];
  }

  #push(op: Omit<PlainOp, "kind">): void {
    if (op.groups[0] * op.groups[1] === 0) return;
    this.#core.push({ kind: "plain", ...op });
  }
}
