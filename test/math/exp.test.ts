import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exp, expWeight, log } from "../../src/math/exp.ts";

// The oracle: fixed-point BigInt arithmetic with 120 fractional bits, far beyond a double's 53, and no Math.exp or Math.log.
const BITS = 120n;
const ONE = 1n << BITS;

/** A double as an exact fixed-point number; bits below 2^-120 are cut off. */
function toFixed(x: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(x));
  const bits = view.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 0x7ffn);
  const mantissa = (bits & 0xfffffffffffffn) | (exponent === 0 ? 0n : 1n << 52n);
  const shift = BITS + BigInt(Math.max(exponent, 1) - 1075);
  const magnitude = shift >= 0n ? mantissa << shift : mantissa >> -shift;
  return x < 0 ? -magnitude : magnitude;
}

/** e^(x / 2^120) for |x| up to 50 · 2^120: the series at x / 2^8, squared eight times. */
function fixedExp(x: bigint): bigint {
  const small = x >> 8n;
  let term = ONE;
  let sum = ONE;
  for (let k = 1n; term !== 0n && k < 200n; k++) {
    term = (term * small) / (k * ONE);
    sum += term;
  }
  for (let i = 0; i < 8; i++) sum = (sum * sum) >> BITS;
  return sum;
}

/** |found - expected| / expected, as a multiple of 2^-53 */
function errorInHalfUlps(found: number, expected: bigint): number {
  const difference = toFixed(found) - expected;
  return Math.abs(Number((difference << 53n) / (expected / (1n << 20n))) / 2 ** 20);
}

describe("exp", () => {
  it("has a relative error below 2^-51 on -20..20, against 120-bit arithmetic", () => {
    fc.assert(
      fc.property(fc.double({ min: -20, max: 20, noNaN: true }), (x) => {
        expect(errorInHalfUlps(exp(x), fixedExp(toFixed(x)))).toBeLessThan(4);
      }),
      { numRuns: 2000 },
    );
  });

  it("is within 2^-50 of the host's exp on its whole range", () => {
    // Weaker than the bound above: the host's own error is unknown.
    for (let x = -708; x <= 709; x += 0.37) {
      expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(2 ** -50);
    }
  });

  it("is exact at 0, and defined everywhere", () => {
    expect(exp(0)).toBe(1);
    expect(exp(-0)).toBe(1);
    expect(exp(-709)).toBe(0);
    expect(exp(Number.NEGATIVE_INFINITY)).toBe(0);
    expect(exp(710)).toBe(Number.POSITIVE_INFINITY);
    expect(exp(Number.NaN)).toBeNaN();
  });

  it("gives these bits on every host", () => {
    const bits = new BigUint64Array(
      new Float64Array([exp(-1), exp(-0.3), exp(5.5), exp(-100)]).buffer,
    );
    expect([...bits].map((x) => x.toString(16))).toMatchInlineSnapshot(`
      [
        "3fd78b56362cef38",
        "3fe7b4c869c37c04",
        "406e96244f21bbf6",
        "36ea8c1f14e2af5c",
      ]
    `);
  });
});

describe("expWeight", () => {
  it("has a relative error below 2^-42 on -600..0, against 2^-50", () => {
    fc.assert(
      fc.property(fc.double({ min: -600, max: 0, noNaN: true }), (x) => {
        expect(Math.abs(expWeight(x) / exp(x) - 1)).toBeLessThan(2 ** -42);
      }),
      { numRuns: 5000 },
    );
  });

  it("is 1 at 0, and 0 far below", () => {
    expect(expWeight(0)).toBe(1);
    expect(expWeight(-0)).toBe(1);
    for (const x of [-700, -1e9, Number.NEGATIVE_INFINITY]) expect(expWeight(x)).toBe(0);
  });
});

describe("log", () => {
  it("inverts exp: e^log(x) is x within 2^-51 · max(1, |log x|) + 2^-51, against 120-bit arithmetic", () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-8, max: 1e8, noNaN: true }), (x) => {
        const y = log(x);
        const bound = 4 * Math.max(1, Math.abs(y)) + 4; // in 2^-53
        const error = fixedExp(toFixed(y)) - toFixed(x);
        const relative = Number((error << 53n) / (toFixed(x) / (1n << 20n))) / 2 ** 20;
        expect(Math.abs(relative)).toBeLessThan(bound);
      }),
      { numRuns: 2000 },
    );
  });

  it("is exact at 1 and within 2^-50 of the host's log for extreme numbers", () => {
    expect(log(1)).toBe(0);
    for (const x of [2 ** -1022, 1e-300, 1e300, Number.MAX_VALUE]) {
      expect(Math.abs(log(x) / Math.log(x) - 1)).toBeLessThan(2 ** -50);
    }
  });
});
