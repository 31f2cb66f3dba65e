// Every backend's backward operations against the reference, and the reference against finite differences of its own
// forward operations.
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { backendsAndGpu } from "../support/backends.ts";
import { Operands } from "../support/operands.ts";
import { expectClose, randomValues } from "../support/values.ts";
import { type Case, WEIGHT_TYPES } from "./cases.ts";
import {
  attentionBackwardCase,
  crossEntropyCase,
  gradientCases,
  isTrivial,
  linearBackwardCase,
} from "./gradient-cases.ts";

const reference = createReferenceBackend();

/** Reference results by case, shared by all backends under test. */
const expectedResults = new Map<Case, Promise<Float32Array>>();

function expectedOf(one: Case): Promise<Float32Array> {
  const result = expectedResults.get(one) ?? one.run(reference);
  expectedResults.set(one, result);
  return result;
}

async function compare(backend: Backend, one: Case): Promise<void> {
  const expected = await expectedOf(one);
  const bound = (backend.name === "webgpu" ? one.gpuBound : undefined) ?? one.bound;
  const actual = await one.run(backend);
  expectClose(actual, expected, typeof bound === "number" ? bound : bound(expected));
}

describe.each(backendsAndGpu)("gradients of backend $name", ({ name, create, unavailable }) => {
  if (unavailable !== undefined) {
    test.skip(`is not available here: ${unavailable}`, () => undefined);
    return;
  }

  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    await backend.dispose();
  });
  beforeEach(({ skip }) => {
    skip(backend.gradients === undefined, "this backend has no backward pass");
  });

  test.each(gradientCases)("$name", async (one) => {
    if (name === "reference") expect(isTrivial(await expectedOf(one))).toBe(false);
    else await compare(backend, one);
  });

  test("random shapes agree", async () => {
    const entry = fc.record({
      rank: fc.integer({ min: 1, max: 40 }),
      m: fc.constantFrom(0, 1, -0.37, 2.5),
      bias: fc.boolean(),
    });
    const linear = fc
      .record({
        type: fc.constantFrom(...WEIGHT_TYPES),
        rows: fc.integer({ min: 1, max: 80 }),
        cols: fc.integer({ min: 1, max: 100 }),
        n: fc.integer({ min: 1, max: 20 }),
        row: fc.integer({ min: 0, max: 3 }),
        accumulate: fc.boolean(),
        products: fc.integer({ min: 1, max: 3 }),
        shared: fc.boolean(),
        bank: fc.array(entry, { maxLength: 3 }),
      })
      .map(linearBackwardCase);
    const attention = fc
      .record({
        groups: fc.integer({ min: 1, max: 4 }),
        kvHeads: fc.integer({ min: 1, max: 3 }),
        half: fc.integer({ min: 1, max: 20 }),
        n: fc.integer({ min: 1, max: 20 }),
      })
      .map(({ groups, kvHeads, half, n }) =>
        attentionBackwardCase({ heads: groups * kvHeads, kvHeads, headDim: 2 * half, n }),
      );
    const crossEntropy = fc
      .record({ vocabulary: fc.integer({ min: 2, max: 200 }), n: fc.integer({ min: 1, max: 9 }) })
      .map(({ vocabulary, n }) => crossEntropyCase(vocabulary, n));
    await fc.assert(
      fc.asyncProperty(fc.oneof(linear, attention, crossEntropy), (one) => compare(backend, one)),
      { numRuns: 60 },
    );
  });

  test("captures targets, weights and bank numbers when the operation is called", async () => {
    const operands = new Operands(backend);
    const gradients = backend.gradients!;
    const [vocabulary, cols] = [40, 24];
    const values = randomValues(vocabulary, 1);
    const weight = await operands.matrix(
      randomValues(vocabulary * cols, 2),
      vocabulary,
      cols,
      "f32",
    );
    const a = randomValues(2 * cols, 3);
    const b = randomValues(2 * vocabulary, 4);
    const data = { name: "test.lora", rank: 2, rows: vocabulary, cols, a, b };
    const segment = operands.keep(backend.loadSegment(data, "f32"));
    const x = await operands.tensor(randomValues(cols, 5), 1, cols);
    const results: Float32Array[] = [];
    for (const change of [false, true]) {
      const logits = await operands.tensor(values, 1, vocabulary);
      const losses = await operands.out(1, 1);
      const dX = await operands.out(1, cols);
      const dM = await operands.tensor(new Float32Array(1), 1, 1);
      const entry = { segment, m: 0.5 };
      const [targets, weights, slots] = [[3], [0.7], [0]];
      gradients.crossEntropy(logits, losses, targets, weights, 1);
      gradients.linearBackward(dX, x, dM, 1, [{ dOut: logits, weight, bank: [entry], slots }]);
      if (change) {
        entry.m = 9;
        targets[0] = 1;
        weights[0] = 2;
      }
      results.push(await operands.result(dX, 1), await operands.result(dM, 1));
    }
    expect(results[2]).toEqual(results[0]);
    expect(results[3]).toEqual(results[1]);
    operands.free();
  });

  test("checks shapes, rows and slots", async () => {
    const operands = new Operands(backend);
    const gradients = backend.gradients!;
    const x = operands.keep(backend.createTensor(2, 32));
    const other = operands.keep(backend.createTensor(2, 32));
    const narrow = operands.keep(backend.createTensor(2, 31));
    const one = operands.keep(backend.createTensor(2, 1));
    const weight = await operands.matrix(randomValues(32 * 32, 1), 32, 32, "f32");
    const norm = operands.keep(backend.loadVector("norm", new Float32Array(31)));
    const a = new Float32Array(32).fill(1);
    const data = { name: "test.lora", rank: 1, rows: 32, cols: 32, a, b: a };
    const segment = operands.keep(backend.loadSegment(data, "f32"));
    const bank = [{ segment, m: 1 }];
    const product = { dOut: other, weight, bank, slots: [0] };
    const dX = operands.keep(backend.createTensor(2, 32));
    const misuses: Record<string, () => void> = {
      "crossEntropy: target": () => gradients.crossEntropy(x, one, [32], [1], 1),
      "crossEntropy: rows": () => gradients.crossEntropy(x, one, [1, 1, 1], [1, 1, 1], 3),
      "linearBackward: in": () => gradients.linearBackward(dX, narrow, one, 1, [product]),
      "linearBackward: rows": () => gradients.linearBackward(dX, x, one, 3, [product]),
      "linearBackward: row": () => gradients.linearBackward(dX, x, one, 2, [product], { row: 1 }),
      "linearBackward: slot": () =>
        gradients.linearBackward(dX, x, one, 1, [{ ...product, slots: [1] }]),
      "linearBackward: slots": () =>
        gradients.linearBackward(dX, x, one, 1, [{ ...product, slots: [] }]),
      "linearBackward: dOut": () =>
        gradients.linearBackward(dX, x, one, 1, [{ ...product, dOut: narrow }]),
      "rmsNormBackward: weight": () => gradients.rmsNormBackward(dX, x, other, norm, 1e-5, 1),
      "siluMulBackward: cols": () => gradients.siluMulBackward(dX, narrow, x, other, x, 1),
      "copy: cols": () => gradients.copy(x, narrow, 1),
      "copy: rows": () => gradients.copy(x, other, 3),
      "clear: rows": () => gradients.clear(x, 3),
    };
    for (const [what, misuse] of Object.entries(misuses)) expect(misuse, what).toThrow(Error);
    await compare(backend, gradientCases[0]!);
    operands.free();
  });
});
