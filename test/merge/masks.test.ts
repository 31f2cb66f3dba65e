// Random masks: the specified streams, known answers, and what makes a seed mean the same soup in any order.
import { describe, expect, test } from "vitest";
import { Random } from "../../src/math/random.ts";
import { type MaskRow, seededMasks } from "../../src/soup/methods/masks.ts";
import { mergeModule } from "../../src/soup/methods/methods.ts";
import { lowRank, mergeDense, PATH, randomInput, toDense } from "./support.ts";

const row: MaskRow = { adapter: 0, path: PATH, tensor: "delta", row: 0 };

function draw(seed: number, at: Partial<MaskRow> = {}, keep = 0.5, length = 64): string {
  const mask = new Uint8Array(length);
  seededMasks(seed)({ ...row, ...at }, keep, mask);
  return mask.join("");
}

describe("seeded masks", () => {
  test("follow the specification, computed here again", () => {
    // FNV-1a and splitmix64 with plain BigInt, from their definitions.
    const wrap = (x: bigint): bigint => BigInt.asUintN(64, x);
    const splitmix = (state: bigint): bigint => {
      let z = wrap(state);
      z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
      z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
      return z ^ (z >> 31n);
    };
    let key = 0xcbf29ce484222325n;
    for (const byte of Buffer.from(`42/3/b/${PATH}`)) {
      key = wrap((key ^ BigInt(byte)) * 0x100000001b3n);
    }
    const step = 0x9e3779b97f4a7c15n;
    const words = [1n, 2n].flatMap((n) => {
      const bits = splitmix(key + 7n + n * step);
      return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
    });
    const random = Random.fromState(words as [number, number, number, number]);
    const expected = Array.from({ length: 64 }, () =>
      random.nextUint32() < 0.3 * 2 ** 32 ? 1 : 0,
    );
    expect(draw(42, { adapter: 3, tensor: "b", row: 7 }, 0.3)).toBe(expected.join(""));
  });

  test("known answer", () => {
    expect(draw(0)).toMatchInlineSnapshot(
      `"1100101100011010011101010001111010110010010101011100101111101001"`,
    );
  });

  test("differ by seed, adapter, path, tensor and row, and in nothing else", () => {
    const masks = [
      draw(0),
      draw(1),
      draw(0, { adapter: 1 }),
      draw(0, { path: "model.layers.1.self_attn.q_proj" }),
      draw(0, { tensor: "a" }),
      draw(0, { row: 1 }),
    ];
    expect(new Set(masks).size).toBe(masks.length);
    expect(draw(0)).toBe(masks[0]);
  });

  test("keep with the given probability: within 5 standard deviations in 2^18 draws", () => {
    const source = seededMasks(9);
    const mask = new Uint8Array(1 << 10);
    for (const keep of [0.1, 0.5, 0.93]) {
      let kept = 0;
      for (let i = 0; i < 256; i++) {
        source({ ...row, row: i }, keep, mask);
        kept += mask.reduce((sum, bit) => sum + bit, 0);
      }
      const n = 256 * mask.length;
      const deviation = Math.sqrt(n * keep * (1 - keep));
      expect(Math.abs(kept - n * keep)).toBeLessThan(5 * deviation);
    }
  });

  test("probability 1 keeps all, each element its own probability", () => {
    expect(draw(5, {}, 1)).toBe("1".repeat(64));
    const keep = Float64Array.from({ length: 64 }, (_, i) => i % 2);
    const mask = new Uint8Array(64);
    seededMasks(5)(row, keep, mask);
    expect(mask.join("")).toBe("01".repeat(32));
  });
});

describe("seeded merges", () => {
  const input = randomInput(30, 20, [{ rank: 3 }, { rank: 3, weight: 0.5 }]);

  test.each(["dare_linear", "dare_ties_svd", "mergekit:dare_ties", "mergekit:della"])(
    "%s: the same seed gives the same bits, another seed or path others",
    (method) => {
      const merge = (seed: number, path = PATH): Float32Array =>
        mergeDense(method, { ...input, path }, { density: 0.5, seed });
      expect(merge(7)).toEqual(merge(7));
      expect(merge(7)).not.toEqual(merge(8));
      expect(merge(7)).not.toEqual(merge(7, "model.layers.1.self_attn.q_proj"));
      expect(mergeDense(method, input, { density: 0.5 })).toEqual(merge(0));
    },
  );

  test("an adapter keeps its masks when another before it is left out", () => {
    const { factors } = input;
    const second = { ...input, factors: [{ ...factors[1]!, index: 1 }], adapters: 2 };
    const zero = { ...input, factors: [{ ...factors[0]!, weight: 0 }, factors[1]!, factors[1]!] };
    const alone = lowRank("dare_linear", second, { density: 0.5 });
    const first = lowRank(
      "dare_linear",
      { ...zero, factors: [zero.factors[0]!, factors[1]!], adapters: 3 },
      { density: 0.5 },
    );
    expect(first).toEqual(alone);
  });

  test("a dense delta gives the same bits in blocks of any size", () => {
    for (const method of [
      "mergekit:della",
      "mergekit:dare_ties",
      "mergekit:sce",
      "mergekit:ties",
    ]) {
      const options = method === "mergekit:sce" ? { selectTopk: 0.5 } : { density: 0.5 };
      const plain = { ...input, factors: input.factors.map((f) => ({ ...f, weight: 1 })) };
      const merged = mergeModule(method, plain, options);
      if (merged.kind !== "dense") throw new Error("not dense");
      const whole = toDense(merged, plain);
      for (const step of [1, 7]) {
        const pieces = new Float32Array(whole.length);
        for (let start = 0; start < 30; start += step) {
          const count = Math.min(step, 30 - start);
          const block = new Float32Array(count * 20);
          merged.delta.read(start, count, block);
          pieces.set(block, start * 20);
        }
        expect(pieces).toEqual(whole);
      }
    }
  });
});
