// What two engines' logits have in common. Logits are compared as log-probabilities, so that neither a constant added to all of
// them nor the engines' own softmax matters.

/**
 * @typedef {object} Comparison
 * @property {number} positions
 * @property {number} sameTop positions where both find the same token the most probable
 * @property {number} worstTie largest gap, in `expected`, between its own top and the other's where they differ; 0 if nowhere
 * @property {number} correlation smallest Pearson correlation of a position over the vocabulary
 * @property {number} rms root mean square of Δ log p over all positions and tokens
 * @property {number} max largest |Δ log p|
 *
 * @param {readonly Float32Array[]} actual one row of logits per position
 * @param {readonly Float32Array[]} expected
 * @returns {Comparison}
 */
export function compareLogits(actual, expected) {
  const result = { positions: expected.length, sameTop: 0, worstTie: 0, correlation: 1 };
  let squares = 0;
  let max = 0;
  for (const [i, logits] of expected.entries()) {
    const a = logProbabilities(actual[i]);
    const b = logProbabilities(logits);
    const top = indexOfMax(a);
    const expectedTop = indexOfMax(b);
    if (top === expectedTop) result.sameTop++;
    result.worstTie = Math.max(result.worstTie, b[expectedTop] - b[top]);
    // Not Math.min, so that NaN counts as worst.
    const correlation = pearson(a, b);
    if (!(correlation >= result.correlation)) result.correlation = correlation;
    for (let id = 0; id < b.length; id++) {
      const difference = Math.abs(a[id] - b[id]);
      squares += difference * difference;
      if (!(difference <= max)) max = difference;
    }
  }
  return { ...result, rms: Math.sqrt(squares / expected.length / expected[0].length), max };
}

function logProbabilities(logits) {
  const max = logits[indexOfMax(logits)];
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  const shift = max + Math.log(sum);
  return Float64Array.from(logits, (logit) => logit - shift);
}

function indexOfMax(values) {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

function pearson(a, b) {
  const meanA = mean(a);
  const meanB = mean(b);
  let ab = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] - meanA;
    const y = b[i] - meanB;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / Math.sqrt(aa * bb);
}

function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}
