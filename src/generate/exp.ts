// Exponential and logarithm in plain IEEE 754 double arithmetic. ECMAScript leaves the last bits of Math.exp and Math.log to the
// engine, so a sampled token could differ between hosts; additions, multiplications and divisions may not. Sampling uses
// these two functions only.

// ln 2 in two parts: the first has 32 bits, so that n · LN2_HIGH is exact for |n| < 2^21 (Cody and Waite, 1980).
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;
const MIN_EXPONENT = -1022;
const MAX_EXPONENT = 1023;

/** POWERS[n - MIN_EXPONENT] = 2^n */
const POWERS: Float64Array = makePowers();

/** 1/k! for k = 13 down to 0: on |r| <= ln 2 / 2 the first term left out is below 2^-57. */
const INVERSE_FACTORIALS: readonly number[] = makeInverseFactorials(13);

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
  let sum = INVERSE_FACTORIALS[0]!;
  for (let k = 1; k < 14; k++) sum = sum * r + INVERSE_FACTORIALS[k]!;
  return sum * POWERS[n - MIN_EXPONENT]!;
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

function makeInverseFactorials(degree: number): number[] {
  const inverse = [1];
  let factorial = 1; // exact: 13! < 2^53
  for (let k = 1; k <= degree; k++) {
    factorial *= k;
    inverse.unshift(1 / factorial);
  }
  return inverse;
}
