// Numbers for tests, and the comparison of results.
import { expect } from "vitest";

/** Spacing of f32 around 1, halved: the relative error of one rounding. */
export const EPS: number = 2 ** -24;

/** mulberry32: a seeded generator of numbers in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Numbers in (-scale, scale). */
export function randomValues(n: number, seed: number, scale = 1): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: n }, () => (2 * next() - 1) * scale);
}

/** Largest absolute value. */
export function maxAbs(values: ArrayLike<number>): number {
  let max = 0;
  for (let i = 0; i < values.length; i++) max = Math.max(max, Math.abs(values[i]!));
  return max;
}

/** Largest absolute difference. NaN anywhere makes it NaN. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let max = 0;
  for (let i = 0; i < a.length; i++) max = Math.max(max, Math.abs(a[i]! - b[i]!));
  return max;
}

/** |actual - expected| <= bound at every place; a failure shows the worst one. Bound 0 means equal numbers. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: number | ((i: number) => number),
): void {
  expect(actual.length).toBe(expected.length);
  let worst = -1;
  let excess = 0;
  for (let i = 0; i < expected.length; i++) {
    const allowed = typeof bound === "number" ? bound : bound(i);
    const over = Math.abs(actual[i]! - expected[i]!) - allowed;
    if (over > excess || Number.isNaN(over)) {
      worst = i;
      excess = over;
      if (Number.isNaN(over)) break;
    }
  }
  if (worst === -1) return;
  const allowed = typeof bound === "number" ? bound : bound(worst);
  expect.fail(
    `at ${worst} of ${expected.length}: ${actual[worst]} is not ${expected[worst]} ± ${allowed}`,
  );
}

/** The same bits everywhere: stricter than equal numbers, and fast. */
export function expectSameBits(actual: Float32Array, expected: Float32Array, what = "bits"): void {
  expect(actual.length, what).toBe(expected.length);
  const [a, b] = [actual, expected].map(
    ({ buffer, byteOffset, length }) => new Uint32Array(buffer, byteOffset, length),
  ) as [Uint32Array, Uint32Array];
  const at = a.findIndex((word, i) => word !== b[i]);
  if (at !== -1) expect.fail(`${what}: at ${at}: ${actual[at]} is not ${expected[at]}`);
}
