// Rotary embedding and causal attention: the meaning of `Backend.rope` and `Backend.attention`.
import type { ReferenceKvCache, ReferenceRope } from "./handles.ts";

/** Rotates x [n, heads × headDim] in place; token i stands at `position + i`. */
export function rotate(
  x: Float32Array,
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
        const a = x[head + j]!;
        const b = x[head + j + half]!;
        x[head + j] = a * c - b * s;
        x[head + j + half] = b * c + a * s;
      }
    }
  }
}

/** softmax(q kᵀ / sqrt(headDim)) v over the cached positions 0..position + i of each token i, of these the last `window`. */
export function attend(
  out: Float32Array,
  q: Float32Array,
  cols: number,
  cache: ReferenceKvCache,
  layer: number,
  position: number,
  n: number,
  window: number,
): void {
  const { headDim, kvHeads } = cache;
  const keys = cache.keys[layer]!;
  const values = cache.values[layer]!;
  const heads = cols / headDim;
  const kvCols = kvHeads * headDim;
  const scale = 1 / Math.sqrt(headDim);
  for (let i = 0; i < n; i++) {
    const end = position + i + 1;
    const first = Math.max(0, end - window);
    const seen = end - first;
    for (let head = 0; head < heads; head++) {
      const query = i * cols + head * headDim;
      const kvHead = Math.floor((head * kvHeads) / heads) * headDim;

      const scores = new Float64Array(seen);
      for (let t = 0; t < seen; t++) {
        let sum = 0;
        for (let j = 0; j < headDim; j++)
          sum += q[query + j]! * keys[(first + t) * kvCols + kvHead + j]!;
        scores[t] = sum * scale;
      }
      softmax(scores);

      for (let j = 0; j < headDim; j++) {
        let sum = 0;
        for (let t = 0; t < seen; t++)
          sum += scores[t]! * values[(first + t) * kvCols + kvHead + j]!;
        out[query + j] = sum;
      }
    }
  }
}

/** In place: e^(x - max) / Σ e^(x - max). */
function softmax(x: Float64Array): void {
  const max = x.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  let sum = 0;
  for (let t = 0; t < x.length; t++) {
    x[t] = Math.exp(x[t]! - max);
    sum += x[t]!;
  }
  for (let t = 0; t < x.length; t++) x[t] = x[t]! / sum;
}
