import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findNotFinite, fromFloat32, toFloat32 } from "../../src/formats/float.ts";
import { failureOf } from "./failure.ts";

/** Oracle: binary16 by its definition, in f64. */
function f16Value(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Oracle: bfloat16 is the upper half of an f32, read by a DataView. */
function bf16Value(half: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint16(2, half, true);
  return view.getFloat32(0, true);
}

const all = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
const allBytes = new Uint8Array(all.buffer);
const values = { F16: Array.from(all, f16Value), BF16: Array.from(all, bf16Value) };

/** Oracle: the nearest representable value, found by looking at all of them; ties to the even pattern. */
function makeNearest(dtype: "F16" | "BF16"): (value: number) => number {
  const infinity = dtype === "F16" ? 0x7c00 : 0x7f80;
  const magnitudes = values[dtype].slice(0, infinity);
  // Rounding treats infinity as the next step of the scale.
  magnitudes.push(2 * magnitudes[infinity - 1]! - magnitudes[infinity - 2]!);
  return (value) => {
    const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
    const magnitude = Math.abs(value);
    let low = 0;
    let high = infinity;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (magnitudes[middle]! <= magnitude) low = middle;
      else high = middle;
    }
    const below = magnitude - magnitudes[low]!;
    const above = magnitudes[high]! - magnitude;
    const up = above < below || (above === below && high % 2 === 0);
    return sign | (up ? high : low);
  };
}

describe.each(["F16", "BF16"] as const)("%s", (dtype) => {
  test("every bit pattern has its value", () => {
    const actual = toFloat32(allBytes, dtype);
    for (let i = 0; i < 0x10000; i++) {
      if (!Object.is(actual[i], values[dtype][i]))
        expect(`${i}: ${actual[i]}`).toBe(values[dtype][i]);
    }
  });

  test("every bit pattern survives the way there and back; NaN becomes quiet", () => {
    const back = new Uint16Array(fromFloat32(toFloat32(allBytes, dtype), dtype).buffer);
    const quiet = dtype === "F16" ? 0x200 : 0x40;
    for (let i = 0; i < 0x10000; i++) {
      const expected = Number.isNaN(values[dtype][i]) ? i | quiet : i;
      if (back[i] !== expected) expect(`${i}: ${back[i]}`).toBe(expected);
    }
  });

  test("rounds to the nearest value, ties to even", () => {
    const nearest = makeNearest(dtype);
    const check = (value: number): void => {
      const half = new Uint16Array(fromFloat32(Float32Array.of(value), dtype).buffer)[0]!;
      expect(half).toBe(nearest(Math.fround(value)));
    };
    // Any bits; and the midpoints between neighbours, with the f32 values beside them.
    const bits = new Uint32Array(1);
    const asFloat = new Float32Array(bits.buffer);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (pattern) => {
        bits[0] = pattern;
        if (!Number.isNaN(asFloat[0]) && Number.isFinite(asFloat[0])) check(asFloat[0]!);
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x7bfe }), fc.constantFrom(-1, 0, 1), (half, step) => {
        asFloat[0] = (values[dtype][half]! + values[dtype][half + 1]!) / 2;
        bits[0]! += step;
        if (bits[0]! < 0x7f80_0000) check(asFloat[0]!);
      }),
      { numRuns: 2000 },
    );
  });

  test("reads from any alignment", () => {
    const shifted = new Uint8Array(7);
    shifted.set([0x00, 0x3c, 0x80, 0x3f], 3);
    const expected = dtype === "F16" ? [1, f16Value(0x3f80)] : [bf16Value(0x3c00), 1];
    expect([...toFloat32(shifted.subarray(3), dtype)]).toEqual(expected);
    expect([...toFloat32(Buffer.from(shifted.buffer, 3, 4), dtype)]).toEqual(expected);
  });
});

test.each([
  ["F16", 65504, 0x7bff],
  ["F16", 65519.996, 0x7bff],
  ["F16", 65520, 0x7c00],
  ["F16", 1e30, 0x7c00],
  ["F16", Number.NEGATIVE_INFINITY, 0xfc00],
  ["F16", 2 ** -24, 1],
  ["F16", 2 ** -25, 0],
  ["F16", 2 ** -25 * 1.000001, 1],
  ["F16", -0, 0x8000],
  ["F16", 1 / 3, 0x3555],
  ["BF16", 1 / 3, 0x3eab],
  ["BF16", 3.4028234663852886e38, 0x7f80],
  ["BF16", -0, 0x8000],
  ["BF16", 1 + 2 ** -8, 0x3f80],
  ["BF16", 1 + 3 * 2 ** -8, 0x3f82],
] as const)("%s of %d is known", (dtype, value, half) => {
  expect(new Uint16Array(fromFloat32(Float32Array.of(value), dtype).buffer)[0]).toBe(half);
});

test("F32 keeps all bits, aligned or not", () => {
  const bytes = Uint8Array.from({ length: 17 }, (_, i) => i * 37);
  for (const offset of [0, 1]) {
    const part = bytes.subarray(offset, offset + 16);
    expect(fromFloat32(toFloat32(part, "F32"), "F32")).toEqual(new Uint8Array(part));
  }
});

test("fromFloat32 honours the view's offset", () => {
  const whole = Float32Array.of(9, 1, 2);
  expect([...toFloat32(fromFloat32(whole.subarray(1), "BF16"), "BF16")]).toEqual([1, 2]);
});

test("other types and cut elements are refused", async () => {
  expect(await failureOf(() => toFloat32(new Uint8Array(8), "I32"))).toMatchInlineSnapshot(
    `"FORMAT_UNSUPPORTED: weights of this type cannot be read: expected F32, F16 or BF16, found I32. Convert the file to one of these types."`,
  );
  expect(await failureOf(() => toFloat32(new Uint8Array(5), "F16"))).toMatchInlineSnapshot(
    `"FORMAT_INVALID: the last F16 element is cut: expected a multiple of 2 bytes, found 5 bytes"`,
  );
});

test.each([
  [[1, 2, 3], -1],
  [[], -1],
  [[1, Number.NaN, 3], 1],
  [[1, 2, Number.POSITIVE_INFINITY], 2],
  [[Number.NEGATIVE_INFINITY], 0],
  [[3.4e38, 1e-45, -0], -1],
])("the first value of %j that is not finite is at %d", (numbers, at) => {
  expect(findNotFinite(Float32Array.from(numbers))).toBe(at);
});
