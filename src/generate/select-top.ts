// Partial selection: the best k of a vocabulary without sorting it. A bounded heap, whose root is the worst of the kept.

/**
 * Finds the k highest scores. Equal scores are ordered by index, lower first, so the result is one and the same everywhere.
 * One pass over the scores; O(n + changes · log k). No allocation.
 *
 * @param scores no NaN
 * @param k at most `out.length`
 * @param out receives the indices, best first
 * @returns how many were written: min(k, scores.length)
 */
export function selectTop(scores: Float32Array, k: number, out: Int32Array): number {
  const size = Math.min(k, scores.length);
  if (size === 0) return 0;
  for (let i = 0; i < size; i++) out[i] = i;
  makeHeap(scores, out, size);
  let worst = scores[out[0]!]!;
  for (let i = size; i < scores.length; i++) {
    // On equality the earlier index stays.
    if (scores[i]! > worst) {
      out[0] = i;
      siftDown(scores, out, 0, size);
      worst = scores[out[0]!]!;
    }
  }
  sortHeap(scores, out, size);
  return size;
}

/** Sorts the first `size` indices in place by their scores, best first, equal ones by index. No allocation. */
export function sortByScore(scores: Float32Array, indices: Int32Array, size: number): void {
  makeHeap(scores, indices, size);
  sortHeap(scores, indices, size);
}

function makeHeap(scores: Float32Array, heap: Int32Array, size: number): void {
  for (let i = (size >> 1) - 1; i >= 0; i--) siftDown(scores, heap, i, size);
}

/** The root, the worst, goes to the end, again and again. */
function sortHeap(scores: Float32Array, heap: Int32Array, size: number): void {
  for (let end = size - 1; end > 0; end--) {
    const last = heap[0]!;
    heap[0] = heap[end]!;
    heap[end] = last;
    siftDown(scores, heap, 0, end);
  }
}

function siftDown(scores: Float32Array, heap: Int32Array, start: number, size: number): void {
  const index = heap[start]!;
  let node = start;
  for (;;) {
    let child = 2 * node + 1;
    if (child >= size) break;
    if (child + 1 < size && isWorse(scores, heap[child + 1]!, heap[child]!)) child++;
    if (!isWorse(scores, heap[child]!, index)) break;
    heap[node] = heap[child]!;
    node = child;
  }
  heap[node] = index;
}

function isWorse(scores: Float32Array, a: number, b: number): boolean {
  const x = scores[a]!;
  const y = scores[b]!;
  return x < y || (x === y && a > b);
}
