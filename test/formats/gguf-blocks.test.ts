// Quantized blocks of every type against a second reading of their descriptions, and the two layouts that backends pack.
import { describe, expect, test } from "vitest";
import { dequantize } from "../../src/formats/gguf/blocks.ts";
import { canonicalType, toCanonical } from "../../src/formats/gguf/canonical.ts";
import { BLOCK_TYPES, blockValues, halfAt, randomBlocks } from "../support/gguf-blocks.ts";
import { expectClose } from "../support/values.ts";

const COUNT = 200;

type Name = Parameters<typeof dequantize>[0];
const types = Object.entries(BLOCK_TYPES).map(([name, type]) => ({ name: name as Name, type }));

test.each(types)("$name dequantizes to what its description says, to the bit", ({ name, type }) => {
  const data = randomBlocks(type, COUNT, type.id);
  const out = new Float32Array(COUNT * type.values);
  dequantize(name, data, COUNT, out);
  const expected = blockValues(type, data);
  expect(expected.some((value) => value > 0) && expected.some((value) => value < 0)).toBe(true);
  expectClose(out, expected, 0);
});

test.each(types)("$name: a scale that is not finite gives no finite value", ({ name, type }) => {
  const data = randomBlocks(type, 1, 1);
  new DataView(data.buffer).setUint16(type.halves[0]!, 0x7c00, true);
  const out = new Float32Array(type.values);
  dequantize(name, data, 1, out);
  // 0 times infinity is no number either
  expect(out.some((value) => !Number.isFinite(value))).toBe(true);
});

const exact = types.filter(({ name }) => canonicalType(name) === "Q8");
const coded = types.filter(({ name }) => canonicalType(name) === "Q4");

test("which types keep their numbers", () => {
  expect(exact.map(({ name }) => name)).toEqual(["Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"]);
  expect(coded.map(({ name }) => name)).toEqual(["Q4_0", "Q4_1", "Q4_K"]);
});

test.each(exact)("$name becomes q8 blocks of exactly its values", ({ name, type }) => {
  const data = randomBlocks(type, COUNT, type.id + 100);
  const blocks = (COUNT * type.values) / 32;
  const out = new Uint8Array(blocks * 36);
  toCanonical(name, data, out);
  const view = new DataView(out.buffer);
  const values = Float32Array.from({ length: COUNT * type.values }, (_, i) => {
    const at = Math.floor(i / 32) * 36;
    return view.getFloat32(at, true) * view.getInt8(at + 4 + (i % 32));
  });
  expectClose(values, blockValues(type, data), 0);
});

describe.each(coded)("$name becomes q4 blocks", ({ name, type }) => {
  const data = randomBlocks(type, COUNT, type.id + 200);
  const blocks = (COUNT * type.values) / 32;
  const out = new Uint8Array(blocks * 20);
  toCanonical(name, data, out);
  const view = new DataView(out.buffer);
  const bf16 = (at: number): number => {
    const wide = new DataView(new ArrayBuffer(4));
    wide.setUint16(2, view.getUint16(at, true), true);
    return wide.getFloat32(0, true);
  };
  const expected = blockValues(type, data);
  const parts = Array.from({ length: blocks }, (_, block) => {
    const at = block * 20;
    const codes = Array.from({ length: 32 }, (_, i) => {
      const byte = view.getUint8(at + 4 + (i % 16));
      return i < 16 ? byte % 16 : Math.floor(byte / 16);
    });
    return {
      d: bf16(at),
      m: bf16(at + 2),
      codes,
      values: expected.slice(block * 32, block * 32 + 32),
    };
  });

  test("of its 4-bit numbers: equal ones are equal values, in the same order", () => {
    for (const { codes, values } of parts) {
      const valueOfCode = new Map<number, number>();
      for (const [i, code] of codes.entries()) {
        expect(valueOfCode.get(code) ?? values[i]).toBe(values[i]);
        valueOfCode.set(code, values[i]!);
      }
    }
  });

  test("with scales and minimums rounded to the nearest bf16", () => {
    for (const { d, m, codes, values } of parts) {
      // each is off by at most half a step of its own: 2^-8 of its size
      const bound = 2 ** -8 * (15 * Math.abs(d) + Math.abs(m)) * (1 + 2 ** -7);
      expectClose(
        codes.map((code) => d * code + m),
        values,
        bound,
      );
    }
  });
});

test("Q4_0's zero stays zero", () => {
  const type = BLOCK_TYPES.Q4_0!;
  const data = randomBlocks(type, 1, 3);
  data.fill(0x88, 2);
  const out = new Uint8Array(20);
  toCanonical("Q4_0", data, out);
  const view = new DataView(out.buffer);
  const wide = new Uint32Array([view.getUint16(0, true) << 16, view.getUint16(2, true) << 16]);
  const [d, m] = new Float32Array(wide.buffer) as unknown as [number, number];
  expect(8 * d + m).toBe(0);
  expect(Math.abs(d / halfAt(new DataView(data.buffer), 0) - 1)).toBeLessThanOrEqual(2 ** -8);
});
