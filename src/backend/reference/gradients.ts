// The backward half of the reference backend: handles resolved and checked here, formulas in gradient-formulas.ts.
// Operations run when they are called.
import type { Handle, Rope, Tensor, Vector } from "../backend.ts";
import type { Gradients, LinearGradient } from "../gradients.ts";
import { check, checkPositions, checkRows } from "./checks.ts";
import {
  attentionBackward,
  crossEntropyRow,
  geluMulBackward,
  linearBackward,
  rmsNormBackward,
  rotateBack,
  siluMulBackward,
} from "./gradient-formulas.ts";
import {
  ReferenceMatrix,
  ReferenceRope,
  ReferenceSegment,
  ReferenceTensor,
  ReferenceVector,
} from "./handles.ts";

/** The handle, if it is the backend's and alive. */
type Own = <H>(handle: Handle, type: new (...args: never[]) => H) => H;

export function createReferenceGradients(own: Own): Gradients {
  return new ReferenceGradients(own);
}

class ReferenceGradients implements Gradients {
  readonly #own: Own;

  constructor(own: Own) {
    this.#own = own;
  }

  crossEntropy(
    logits: Tensor,
    losses: Tensor,
    targets: ArrayLike<number>,
    weights: ArrayLike<number>,
    n: number,
  ): void {
    const { data, cols } = this.#rows("crossEntropy", "logits", logits, n);
    const out = this.#rows("crossEntropy", "losses", losses, n);
    check(out.cols === 1, `crossEntropy: losses has ${out.cols} columns`);
    check(targets.length >= n && weights.length >= n, `crossEntropy: fewer targets than ${n}`);
    for (let i = 0; i < n; i++) {
      const target = targets[i]!;
      check(
        Number.isInteger(target) && target >= 0 && target < cols,
        `crossEntropy: target ${target} outside 0..${cols - 1}`,
      );
      const row = data.subarray(i * cols, (i + 1) * cols);
      out.data[i] = crossEntropyRow(row, target, Math.fround(weights[i]!));
    }
  }

  linearBackward(
    dX: Tensor,
    x: Tensor,
    dM: Tensor,
    n: number,
    products: readonly LinearGradient[],
    { accumulate = false, row = 0 }: { accumulate?: boolean; row?: number } = {},
  ): void {
    check(Number.isInteger(row) && row >= 0, `linearBackward: row ${row}`);
    const { data: input, cols } = this.#rows("linearBackward", "x", x, row + n);
    const to = this.#rows("linearBackward", "dX", dX, row + n);
    const sums = this.#rows("linearBackward", "dM", dM, 1);
    check(to.cols === cols, `linearBackward: x has ${cols} columns, dX ${to.cols}`);
    check(dX !== x, "linearBackward: dX is x");
    const tasks = products.map(({ dOut, weight, bank, slots }) => {
      const from = this.#rows("linearBackward", "dOut", dOut, n);
      const { rows, cols: inputs, data } = this.#own(weight, ReferenceMatrix);
      check(dOut !== dX, "linearBackward: dOut is dX");
      check(inputs === cols, `linearBackward: weight has ${inputs} columns, x ${cols}`);
      check(from.cols === rows, `linearBackward: weight has ${rows} rows, dOut ${from.cols}`);
      check(slots.length === bank.length, `linearBackward: ${slots.length} slots`);
      const entries = bank.map(({ segment: handle, m }, i) => {
        const segment = this.#own(handle, ReferenceSegment);
        const slot = slots[i]!;
        check(
          segment.rows === rows && segment.cols === cols,
          `linearBackward: segment [${segment.rows}, ${segment.cols}] beside [${rows}, ${cols}]`,
        );
        check(
          Number.isInteger(slot) && slot >= 0 && slot < sums.cols,
          `linearBackward: slot ${slot} of ${sums.cols}`,
        );
        return { segment, m: Math.fround(m), slot };
      });
      return { dOut: from.data, rows, weight: data, bank: entries };
    });
    const start = row * cols;
    linearBackward(
      to.data.subarray(start),
      input.subarray(start),
      sums.data,
      cols,
      n,
      tasks,
      accumulate,
    );
  }

  rmsNormBackward(
    dX: Tensor,
    dOut: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
  ): void {
    const { data, cols } = this.#rows("rmsNormBackward", "x", x, n);
    const from = this.#rows("rmsNormBackward", "dOut", dOut, n);
    const to = this.#rows("rmsNormBackward", "dX", dX, n);
    const { data: scale, length } = this.#own(weight, ReferenceVector);
    check(
      from.cols === cols && to.cols === cols && cols % length === 0,
      `rmsNormBackward: x ${cols}, dOut ${from.cols}, dX ${to.cols}, weight ${length}`,
    );
    for (let start = 0; start < n * cols; start += length) {
      const end = start + length;
      rmsNormBackward(
        to.data.subarray(start, end),
        from.data.subarray(start, end),
        data.subarray(start, end),
        scale,
        eps,
      );
    }
  }

  ropeBackward(dX: Tensor, n: number, rope: Rope, position: number): void {
    const { data, cols } = this.#rows("ropeBackward", "dX", dX, n);
    const tables = this.#own(rope, ReferenceRope);
    check(cols % tables.headDim === 0, `ropeBackward: ${cols} columns, heads ${tables.headDim}`);
    checkPositions("ropeBackward", position, n, tables.length);
    rotateBack(data, cols, n, tables, position);
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
    window = Number.POSITIVE_INFINITY,
  ): void {
    const rows = (what: string, handle: Tensor): ReferenceTensor =>
      this.#rows("attentionBackward", what, handle, n);
    const query = rows("q", q);
    const key = rows("k", k);
    const value = rows("v", v);
    const from = rows("dOut", dOut);
    const out = { dQ: rows("dQ", dQ), dK: rows("dK", dK), dV: rows("dV", dV) };
    const queryCols = [from.cols, out.dQ.cols];
    const keyCols = [value.cols, out.dK.cols, out.dV.cols];
    check(
      queryCols.every((cols) => cols === query.cols) &&
        keyCols.every((cols) => cols === key.cols) &&
        key.cols % headDim === 0 &&
        query.cols % key.cols === 0,
      `attentionBackward: q ${query.cols}, ${queryCols}; k ${key.cols}, ${keyCols}; ${headDim}`,
    );
    check(new Set([dQ, dK, dV, dOut, q, k, v]).size === 7, "attentionBackward: tensors overlap");
    attentionBackward(
      out.dQ.data,
      out.dK.data,
      out.dV.data,
      from.data,
      query.data,
      key.data,
      value.data,
      { headDim, heads: query.cols / headDim, kvHeads: key.cols / headDim, n, window },
    );
  }

  siluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    this.#gateBackward("siluMulBackward", siluMulBackward, dGate, dUp, dOut, gate, up, n);
  }

  geluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    this.#gateBackward("geluMulBackward", geluMulBackward, dGate, dUp, dOut, gate, up, n);
  }

  #gateBackward(
    operation: string,
    formula: typeof siluMulBackward,
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void {
    const rows = (what: string, handle: Tensor): ReferenceTensor =>
      this.#rows(operation, what, handle, n);
    const from = rows("dOut", dOut);
    const [toGate, toUp, z, y] = [
      rows("dGate", dGate),
      rows("dUp", dUp),
      rows("gate", gate),
      rows("up", up),
    ];
    check(
      [toGate, toUp, z, y].every(({ cols }) => cols === from.cols),
      `${operation}: ${[from, toGate, toUp, z, y].map(({ cols }) => cols)}`,
    );
    check(
      dUp !== dGate && dUp !== dOut && dUp !== gate && dGate !== up,
      `${operation}: tensors overlap`,
    );
    formula(toGate.data, toUp.data, from.data, z.data, y.data, n * from.cols);
  }

  clear(x: Tensor, n: number): void {
    const { data, cols } = this.#rows("clear", "x", x, n);
    data.fill(0, 0, n * cols);
  }

  copy(to: Tensor, from: Tensor, n: number): void {
    const source = this.#rows("copy", "from", from, n);
    const target = this.#rows("copy", "to", to, n);
    check(target.cols === source.cols, `copy: ${source.cols} columns to ${target.cols}`);
    target.data.set(source.data.subarray(0, n * source.cols));
  }

  #rows(operation: string, what: string, handle: Tensor, n: number): ReferenceTensor {
    const tensor = this.#own(handle, ReferenceTensor);
    checkRows(operation, what, tensor, n);
    return tensor;
  }
}
