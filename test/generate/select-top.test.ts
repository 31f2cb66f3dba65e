import fc from "fast-check";
import { expect, it } from "vitest";
import { selectTop } from "../../src/generate/select-top.ts";

// Few values: many ties.
const scores = fc.array(
  fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constant(Number.NEGATIVE_INFINITY)),
  {
    minLength: 1,
    maxLength: 80,
  },
);

it("selects what a full sort puts first, ties by index", () => {
  fc.assert(
    fc.property(scores, fc.nat(100), (list, k) => {
      const values = Float32Array.from(list);
      const expected = [...list.keys()]
        .sort((a, b) => (values[a] === values[b] ? a - b : values[b]! - values[a]!))
        .slice(0, k);
      const out = new Int32Array(k).fill(-7);
      const size = selectTop(values, k, out);
      expect([...out.subarray(0, size)]).toEqual(expected);
      expect([...out.subarray(size)].every((x) => x === -7)).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
