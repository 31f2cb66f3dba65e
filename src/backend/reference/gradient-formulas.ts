// The derivatives themselves: the meaning of every operation of `Gradients`, in f64 sums rounded once to f32.
// dX stands for dLoss / dX throughout.
import { dequantize } from "../quantize.ts";
import type { ReferenceRope, ReferenceSegment, Rows } from "./handles.ts";

/**
 * Turns a row of logits into dLoss / dlogits = weight · (softmax - onehot(target)).
 * @returns weight · -log softmax[target]
 */
export function crossEntropyRow(logits: Float32Array, target: number, weight: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const logit of logits) max = Math.max(max, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  const loss = weight * (Math.log(sum) - (logits[target]! - max));
  for (let j = 0; j < logits.length; j++) {
    const p = Math.exp(logits[j]! - max) / sum;
    logits[j] = weight * (j === target ? p - 1 : p);
  }
  return loss;
}

/** One `LinearGradient` with its handles resolved. */
export interface LinearGradientTask {
  /** [n, rows] */
  readonly dOut: Float32Array;
  readonly rows: number;
  /** [rows, cols] */
  readonly weight: Rows;
  readonly bank: readonly {
    readonly segment: ReferenceSegment;
    readonly m: number;
    readonly slot: number;
  }[];
}

/**
 * dX = [dX +] Σ (Wᵀ dOut + Σ m Aᵀ (Bᵀ dOut)); dM[slot] += Σ_tokens ⟨Bᵀ dOut, A x⟩ + ⟨dOut, segment bias⟩.
 * x, dX [n, cols]
 */
export function linearBackward(
  dX: Float32Array,
  x: Float32Array,
  dM: Float32Array,
  cols: number,
  n: number,
  tasks: readonly LinearGradientTask[],
  accumulate: boolean,
): void {
  const dM64 = Float64Array.from(dM);
  for (let i = 0; i < n; i++) {
    const input = x.subarray(i * cols, (i + 1) * cols);
    const sum = new Float64Array(cols);
    if (accumulate) sum.set(dX.subarray(i * cols, (i + 1) * cols));
    for (const { dOut, rows, weight, bank } of tasks) {
      const gradient = dOut.subarray(i * rows, (i + 1) * rows);
      addTransposed(sum, weight, gradient, 1);
      for (const { segment, m, slot } of bank) {
        const { rank } = segment;
        const dH = new Float64Array(rank); // Bᵀ dOut
        addTransposed(dH, segment.b, gradient, 1);
        for (let r = 0; r < rank; r++) dM64[slot]! += dH[r]! * rowProduct(segment.a, r, input);
        if (segment.bias !== undefined) {
          for (let o = 0; o < rows; o++) dM64[slot]! += gradient[o]! * segment.bias[o]!;
        }
        addTransposed(sum, segment.a, dH, m);
      }
    }
    dX.set(sum, i * cols);
  }
  dM.set(dM64);
}

/** out [cols] += factor · wᵀ y, w [y.length, cols] */
function addTransposed(
  out: Float64Array,
  w: Rows,
  y: Float32Array | Float64Array,
  factor: number,
): void {
  for (let row = 0; row < y.length; row++) {
    const value = factor * y[row]!;
    if (value === 0) continue;
    for (let c = 0; c < out.length; c++) out[c]! += element(w, row, c, out.length) * value;
  }
}

/** Row `row` of w [.., x.length] times x. */
function rowProduct(w: Rows, row: number, x: Float32Array): number {
  let sum = 0;
  for (let c = 0; c < x.length; c++) sum += element(w, row, c, x.length) * x[c]!;
  return sum;
}

function element(w: Rows, row: number, col: number, cols: number): number {
  return w instanceof Float32Array ? w[row * cols + col]! : dequantize(w, row, col);
}

/** One row: dX += r g - x r³ mean(g ⊙ x), r = 1 / sqrt(mean(x²) + eps), g = dOut ⊙ weight. */
export function rmsNormBackward(
  dX: Float32Array,
  dOut: Float32Array,
  x: Float32Array,
  weight: Float32Array,
  eps: number,
): void {
  const cols = x.length;
  let squares = 0;
  let products = 0;
  for (let c = 0; c < cols; c++) {
    squares += x[c]! ** 2;
    products += dOut[c]! * weight[c]! * x[c]!;
  }
  const r = 1 / Math.sqrt(squares / cols + eps);
  const mean = products / cols;
  for (let c = 0; c < cols; c++) dX[c]! += r * dOut[c]! * weight[c]! - x[c]! * r ** 3 * mean;
}

/** The inverse, which is the transpose, of `rotate`. */
export function rotateBack(
  dX: Float32Array,
  cols: number,
  n: number,
  { cos, sin, headDim }: ReferenceRope,
  position: number,
): void {
  const half = headDim / 2;
  for (let i = 0; i < n; i++) {
    for (let head = i * cols; head < (i + 1) * cols; head += headDim) {
      for (let j = 0; j < half; j++) {
        const c = cos[(position + i) * half + j]!;
        const s = sin[(position + i) * half + j]!;
        const a = dX[head + j]!;
        const b = dX[head + j + half]!;
        dX[head + j] = a * c + b * s;
        dX[head + j + half] = b * c - a * s;
      }
    }
  }
}

/**
 * Per query head, with P = softmax(S), S = q kᵀ / sqrt(headDim) over positions 0..i, of these the last `window`:
 * dV += Pᵀ dOut, dP = dOut vᵀ, dS = P ⊙ (dP - rowsum(P ⊙ dP)), dQ = dS k / sqrt(headDim), dK += dSᵀ q / sqrt(headDim).
 */
export function attentionBackward(
  dQ: Float32Array,
  dK: Float32Array,
  dV: Float32Array,
  dOut: Float32Array,
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  shape: { headDim: number; heads: number; kvHeads: number; n: number; window: number },
): void {
  const { headDim, heads, kvHeads, n, window } = shape;
  const cols = heads * headDim;
  const kvCols = kvHeads * headDim;
  const scale = 1 / Math.sqrt(headDim);
  const dK64 = new Float64Array(n * kvCols);
  const dV64 = new Float64Array(n * kvCols);
  const product = (a: Float32Array, atA: number, b: Float32Array, atB: number): number => {
    let sum = 0;
    for (let j = 0; j < headDim; j++) sum += a[atA + j]! * b[atB + j]!;
    return sum;
  };
  for (let i = 0; i < n; i++) {
    const first = Math.max(0, i + 1 - window);
    for (let head = 0; head < heads; head++) {
      const query = i * cols + head * headDim;
      const kvHead = Math.floor((head * kvHeads) / heads) * headDim;
      const key = (t: number): number => (first + t) * kvCols + kvHead;

      const p = new Float64Array(i + 1 - first);
      for (let t = 0; t < p.length; t++) p[t] = scale * product(q, query, k, key(t));
      const max = p.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
      for (let t = 0; t < p.length; t++) p[t] = Math.exp(p[t]! - max);
      const total = p.reduce((a, b) => a + b, 0);
      for (let t = 0; t < p.length; t++) p[t]! /= total;

      const dP = p.map((_, t) => product(dOut, query, v, key(t)));
      const mean = dP.reduce((sum, value, t) => sum + p[t]! * value, 0);
      const dQuery = new Float64Array(headDim);
      for (let t = 0; t < p.length; t++) {
        const dS = p[t]! * (dP[t]! - mean) * scale;
        for (let j = 0; j < headDim; j++) {
          dQuery[j]! += dS * k[key(t) + j]!;
          dK64[key(t) + j]! += dS * q[query + j]!;
          dV64[key(t) + j]! += p[t]! * dOut[query + j]!;
        }
      }
      dQ.set(dQuery, query);
    }
  }
  dK.set(dK64);
  dV.set(dV64);
}

/** u of gelu(z) = z/2 (1 + tanh u). */
export function geluArgument(z: number): number {
  return Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3);
}

/** Element by element: dUp = dOut gelu(z), dGate = dOut up gelu′(z). dGate may be dOut. */
export function geluMulBackward(
  dGate: Float32Array,
  dUp: Float32Array,
  dOut: Float32Array,
  gate: Float32Array,
  up: Float32Array,
  length: number,
): void {
  for (let i = 0; i < length; i++) {
    const z = gate[i]!;
    const u = geluArgument(z);
    const slope = Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * z ** 2);
    const s = 1 / (1 + Math.exp(-2 * u)); // (1 + tanh u) / 2
    const gradient = dOut[i]!;
    dUp[i] = gradient * z * s;
    // 1 - s = 1 / (1 + e^2u), without cancellation
    dGate[i] = gradient * up[i]! * s * (1 + (2 * z * slope) / (1 + Math.exp(2 * u)));
  }
}

/** Element by element: dUp = dOut silu(z), dGate = dOut up σ(z) (1 + z (1 - σ(z))). dGate may be dOut. */
export function siluMulBackward(
  dGate: Float32Array,
  dUp: Float32Array,
  dOut: Float32Array,
  gate: Float32Array,
  up: Float32Array,
  length: number,
): void {
  for (let i = 0; i < length; i++) {
    const z = gate[i]!;
    const sigmoid = 1 / (1 + Math.exp(-z));
    const gradient = dOut[i]!;
    dUp[i] = gradient * z * sigmoid;
    // 1 - σ(z) = σ(-z), without cancellation
    dGate[i] = gradient * up[i]! * sigmoid * (1 + z / (1 + Math.exp(z)));
  }
}
