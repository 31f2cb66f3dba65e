// Exponential and logarithm in plain IEEE 754 double arithmetic. ECMAScript leaves the last bits of Math.exp and Math.log to the
// engine, so a sampled token could differ between hosts; additions, multiplications and divisions may not. Sampling uses
// these functions only.

// ln 2 in two parts: the first has 32 bits, so that n · LN2_HIGH is exact for |n| < 2^21 (Cody and Waite, 1980).
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;
const MIN_EXPONENT = -1022;
const MAX_EXPONENT = 1023;

/** POWERS[n - MIN_EXPONENT] = 2^n */
const POWERS: Float64Array = makePowers();

// 1/k!, each the nearest double: k! is exact up to 18!. On |r| <= ln 2 / 2 the first term left out is below 2^-57.
const C2 = 1 / 2;
const C3 = 1 / 6;
const C4 = 1 / 24;
const C5 = 1 / 120;
const C6 = 1 / 720;
const C7 = 1 / 5040;
const C8 = 1 / 40320;
const C9 = 1 / 362880;
const C10 = 1 / 3628800;
const C11 = 1 / 39916800;
const C12 = 1 / 479001600;
const C13 = 1 / 6227020800;

/**
 * e^x with a relative error below 2^-51. 0 below -708, where the result would leave the normal numbers; Infinity above 709;
 * NaN for NaN.
 *
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^x = 2^n e^r, e^r by its Taylor polynomial of degree 13.
 */
export function exp(x: number): number {
  if (x < -708) return 0;
  if (x > 709) return Number.POSITIVE_INFINITY;
  if (Number.isNaN(x)) return x;
  const n = Math.floor(x * Math.LOG2E + 0.5);
  const r = x - n * LN2_HIGH - n * LN2_LOW;
  // Estrin's order: short chains of dependent operations, which a vocabulary of calls feels.
  const r2 = r * r;
  const r4 = r2 * r2;
  const low = 1 + r + r2 * (C2 + C3 * r);
  const middle = C4 + C5 * r + r2 * (C6 + C7 * r);
  const high = C8 + C9 * r + r2 * (C10 + C11 * r) + r4 * (C12 + C13 * r);
  const sum = low + r4 * (middle + r4 * high);
  return sum * POWERS[n - MIN_EXPONENT]!;
}

/** STEPS[j] = 2^(j / 256) */
const STEPS: Float64Array = Float64Array.from({ length: 256 }, (_, j) => exp((j * Math.LN2) / 256));
const STEPS_PER_UNIT = 256 / Math.LN2;
const STEP = Math.LN2 / 256;

/**
 * e^x for x <= 0 with a relative error below 2^-42, in a quarter of the time: for the weights of a whole vocabulary. 0 below -700.
 *
 * x = n ln 2 / 256 + r, |r| <= ln 2 / 512; e^r by its Taylor polynomial of degree 3.
 */
export function expWeight(x: number): number {
  if (!(x > -700)) return 0;
  const n = (x * STEPS_PER_UNIT - 0.5) | 0;
  const r = x - n * STEP;
  const power = STEPS[n & 255]! * POWERS[(n >> 8) - MIN_EXPONENT]!;
  return power * (1 + r * (1 + r * (C2 + C3 * r)));
}

/**
 * ln x for a positive normal number, with an absolute error below 2^-52 · max(1, |ln x|).
 *
 * x = 2^n m, m in [sqrt 1/2, sqrt 2); ln m = 2 artanh s = 2 (s + s³/3 + s⁵/5 …), s = (m - 1) / (m + 1), |s| < 0.1716. The
 * first term left out, s^23 / 23, is below 2^-62.
 */
export function log(x: number): number {
  let n = 0;
  let m = x;
  while (m >= Math.SQRT2) {
    m *= 0.5;
    n++;
  }
  while (m < Math.SQRT1_2) {
    m *= 2;
    n--;
  }
  const s = (m - 1) / (m + 1);
  const square = s * s;
  let sum = 0;
  for (let k = 21; k >= 1; k -= 2) sum = sum * square + 1 / k;
  return n * LN2_HIGH + (n * LN2_LOW + 2 * s * sum);
}

function makePowers(): Float64Array {
  const powers = new Float64Array(MAX_EXPONENT - MIN_EXPONENT + 1);
  powers[-MIN_EXPONENT] = 1;
  for (let n = 1; n <= MAX_EXPONENT; n++) {
    powers[n - MIN_EXPONENT] = powers[n - 1 - MIN_EXPONENT]! * 2;
  }
  for (let n = -1; n >= MIN_EXPONENT; n--) {
    powers[n - MIN_EXPONENT] = powers[n + 1 - MIN_EXPONENT]! * 0.5;
  }
  return powers;
}
