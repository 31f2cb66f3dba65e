// Rounding to half precision, as KV caches of type f16 hold their values.

const LARGEST = 65504;
/** The step between subnormal halves. */
const SMALLEST = 2 ** -24;

/** The nearest half, ties to even; beyond ±65504 the largest. NaN stays. */
export function roundToHalf(value: number): number {
  const magnitude = Math.min(Math.abs(value), LARGEST);
  if (magnitude === 0) return value;
  // 2^(exponent - 10): the step between halves of this size. log2 may be off by one next to a power of two, where either
  // step gives the same multiple.
  const step = Math.max(2 ** (Math.floor(Math.log2(magnitude)) - 10), SMALLEST);
  const quotient = magnitude / step;
  const floor = Math.floor(quotient);
  const rest = quotient - floor;
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 === 1);
  return Math.sign(value) * (up ? floor + 1 : floor) * step;
}
