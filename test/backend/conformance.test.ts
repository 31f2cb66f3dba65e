// Every backend against the reference: one table of cases, properties over random shapes, and the behaviour of handles.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, BankEntry, Span } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { TureenError } from "../../src/errors.ts";
import { fromFloat32, toFloat32 } from "../../src/formats/float.ts";
import { backendsAndGpu } from "../support/backends.ts";
import { bytesSource, GUARD, matrixSource, Operands } from "../support/operands.ts";
import { EPS, expectClose, expectSameBits, maxAbs, randomValues } from "../support/values.ts";
import { type Case, cases, isTrivial, linearBound, linearCase, WEIGHT_TYPES } from "./cases.ts";

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

describe.each(backendsAndGpu)("backend $name", ({ name, create, unavailable }) => {
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

  // The reference is held to formulas in reference.test.ts; here its cases only must run, keep their guards, and not vanish.
  test.each(cases)("$name", async (one) => {
    if (name === "reference") expect(isTrivial(await expectedOf(one))).toBe(false);
    else await compare(backend, one);
  });

  if (name !== "reference") {
    test.each(WEIGHT_TYPES)("linear %s agrees at random shapes", async (type) => {
      const entry = fc.record({
        rank: fc.integer({ min: 1, max: 70 }),
        m: fc.oneof(
          fc.constantFrom(0, 1, -0.37, 2.5),
          fc.array(fc.constantFrom(0, 0, 1, -0.37), { minLength: 20, maxLength: 20 }),
        ),
        bias: fc.boolean(),
      });
      const shape = fc.record({
        type: fc.constant(type),
        rows: fc.integer({ min: 1, max: 80 }),
        cols: fc.integer({ min: 1, max: 140 }),
        n: fc.integer({ min: 1, max: 20 }),
        row: fc.integer({ min: 0, max: 3 }),
        bias: fc.boolean(),
        accumulate: fc.boolean(),
        outputs: fc.integer({ min: 1, max: 3 }),
        bank: fc.array(entry, { maxLength: 3 }),
      });
      await fc.assert(
        fc.asyncProperty(shape, (random) => compare(backend, linearCase(random))),
        // On a GPU, h may differ in its last bits and then round to another int8: the same shapes every time.
        name === "webgpu" ? { numRuns: 40, seed: 1 } : { numRuns: 40 },
      );
    });
  }

  test.each(["F16", "BF16"] as const)("loads every finite %s value exactly", async (dtype) => {
    const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const finite = halves.filter((half) =>
      Number.isFinite(toFloat32(new Uint8Array(Uint16Array.of(half).buffer), dtype)[0]!),
    );
    const cols = 256;
    const rows = finite.length / cols; // both types have a whole number of rows
    const source = bytesSource(new Uint8Array(finite.buffer), rows, cols, dtype);
    const operands = new Operands(backend);
    const table = operands.keep(await backend.loadMatrix(source, "f32"));
    const out = operands.keep(backend.createTensor(rows, cols));
    backend.embed(
      out,
      table,
      Array.from({ length: rows }, (_, i) => i),
    );
    const expected = toFloat32(new Uint8Array(finite.buffer), dtype);
    expectClose(await backend.read(out, 0, rows), expected, 0);
    operands.free();
  });

  test.each(["q8", "q4"] as const)(
    "quantizes awkward blocks to %s as the reference",
    async (type) => {
      const rows = awkwardRows();
      const cols = 45; // one whole block and a part
      const table = new Float32Array(rows.length * cols);
      rows.forEach((row, r) => {
        for (let c = 0; c < cols; c++) table[r * cols + c] = row(c);
      });
      const results: Float32Array[] = [];
      for (const subject of [backend, reference]) {
        const operands = new Operands(subject);
        const matrix = await operands.matrix(table, rows.length, cols, type);
        const out = await operands.out(rows.length, cols);
        subject.embed(
          out,
          matrix,
          Array.from({ length: rows.length }, (_, i) => i),
        );
        results.push(await operands.result(out, rows.length));
        operands.free();
      }
      // a GPU may flush subnormal numbers, and fuse d q + m
      const largest = (i: number): number =>
        maxAbs(results[1]!.subarray(i - (i % cols), i - (i % cols) + cols));
      const gpuBound = (i: number): number => 2 ** -126 + 4 * EPS * largest(i);
      expectClose(results[0]!, results[1]!, name === "webgpu" ? gpuBound : 0);
    },
  );

  test.each(WEIGHT_TYPES)("replaceMatrix %s there and back restores every bit", async (type) => {
    const [rows, cols, n] = [40, 70, 3];
    const operands = new Operands(backend);
    const [before, folded] = [randomValues(rows * cols, 1), randomValues(rows * cols, 2)];
    const weight = await operands.matrix(before, rows, cols, type);
    const x = await operands.tensor(randomValues(n * cols, 3), n, cols);
    const out = await operands.out(n, rows);
    const product = async (): Promise<Float32Array> => {
      backend.linear(x, n, [{ out, weight, bank: [] }]);
      return backend.read(out, 0, n);
    };
    const first = await product();
    await backend.replaceMatrix(weight, matrixSource(folded, rows, cols));
    const second = await product();
    await backend.replaceMatrix(weight, matrixSource(before, rows, cols));
    expect(second).not.toEqual(first);
    expect(await product()).toEqual(first);
    operands.free();
  });

  test("reads rows from the middle, into a given array", async () => {
    const values = randomValues(5 * 7, 1);
    const operands = new Operands(backend);
    const x = await operands.tensor(values, 5, 7);
    expect(await backend.read(x, 2, 2)).toEqual(values.slice(14, 28));
    const into = new Float32Array(21);
    expect(await backend.read(x, 1, 3, into)).toBe(into);
    expect(into).toEqual(values.slice(7, 28));
    expect((await backend.read(x, 5, 1))[0]).toBe(GUARD);
    operands.free();
  });

  test("captures ids and bank weights when the operation is called", async () => {
    const [rows, cols] = [20, 40];
    const operands = new Operands(backend);
    const table = await operands.matrix(randomValues(3 * cols, 1), 3, cols, "f32");
    const weight = await operands.matrix(randomValues(rows * cols, 2), rows, cols, "q8");
    const a = randomValues(4 * cols, 3);
    const b = randomValues(rows * 4, 4);
    const segment = operands.keep(
      backend.loadSegment({ name: "test.lora", rank: 4, rows, cols, a, b }, "q8"),
    );
    const x = await operands.out(1, cols);
    const [changed, kept] = [await operands.out(1, rows), await operands.out(1, rows)];
    const ids = [1];
    const entry = { segment, m: 0.5 };
    backend.embed(x, table, ids);
    backend.linear(x, 1, [{ out: changed, weight, bank: [entry] }]);
    ids[0] = 2;
    entry.m = -3;
    backend.linear(x, 1, [{ out: kept, weight, bank: [{ segment, m: 0.5 }] }]);
    expect(await operands.result(changed, 1)).toEqual(await operands.result(kept, 1));
    operands.free();
  });

  const someZeros = [
    [1, 1, 1, 1, 1, 0, 0, 0.5, 2, 2, 0],
    [0, 3, 3, 3, 3, 3, 0, 0.5, 2, 2, 0],
  ];
  const noZeros = [
    [1, 1, 1, 1, 1, 7, 8, 0.5, 2, 2, 1],
    [6, 3, 3, 3, 3, 3, 9, 0.5, 2, 2, 1],
  ];
  const rowCases = WEIGHT_TYPES.flatMap((type) =>
    [true, false].flatMap((bias) => [
      { type, what: "some zeros", numbers: someZeros, bias },
      { type, what: "no zeros", numbers: noZeros, bias },
    ]),
  );
  test.each(rowCases)(
    "linear $type with m per row gives each row its own bits: $what, bias $bias",
    async ({ type, numbers, bias: hasBias }) => {
      const [rows, cols, n] = [45, 70, 11];
      const operands = new Operands(backend);
      const weight = await operands.matrix(randomValues(rows * cols, 1), rows, cols, type);
      const x = await operands.tensor(randomValues(n * cols, 2), n, cols);
      const segments = [16, 5].map((rank, i) => {
        const [a, b] = [randomValues(rank * cols, 3 + i), randomValues(rows * rank, 5 + i)];
        const bias = i === 0 || !hasBias ? undefined : randomValues(rows, 7);
        return operands.keep(
          backend.loadSegment({ name: "test.lora", rank, rows, cols, a, b, bias }, type),
        );
      });
      const largestM = [16, 5].map((rank) => ({ rank, m: 9 }));
      const bankOf = (m: (i: number) => BankEntry["m"]): BankEntry[] =>
        segments.map((segment, i) => ({ segment, m: m(i) }));
      const batch = await operands.out(n, rows);
      backend.linear(x, n, [{ out: batch, weight, bank: bankOf((i) => numbers[i]!) }]);
      const together = await operands.result(batch, n);
      for (let row = 0; row < n; row++) {
        const out = await operands.out(1, rows);
        // rows whose m is 0 as if the segment were not there
        const bank = bankOf((i) => numbers[i]![row]!).filter(({ m }) => m !== 0);
        backend.linear(x, 1, [{ out, weight, bank }], row);
        const alone = await operands.result(out, 1);
        const own = together.slice(row * rows, (row + 1) * rows);
        // WebGPU sums a row and many rows in different orders
        if (name !== "webgpu") expectSameBits(own, alone, `row ${row}`);
        else expectClose(own, alone, 2 * linearBound({ type, rows, cols, n: 1, bank: largestM })());
      }
      operands.free();
    },
  );

  test.each([
    ["F32", "q8", Number.NaN],
    ["F32", "f32", Number.POSITIVE_INFINITY],
    ["F16", "f32", Number.NEGATIVE_INFINITY],
    ["F16", "q4", Number.NaN],
    ["BF16", "q8", Number.POSITIVE_INFINITY],
  ] as const)("refuses a matrix %s → %s that holds %d", async (dtype, type, bad) => {
    const [rows, cols] = [9, 40];
    const values = randomValues(rows * cols, 1);
    values[7 * cols + 33] = bad;
    const source = bytesSource(fromFloat32(values, dtype), rows, cols, dtype, "model.bad.weight");
    const failure = await backend.loadMatrix(source, type).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TureenError);
    expect(failure).toMatchObject({ code: "WEIGHTS_NOT_FINITE" });
    expect((failure as Error).message).toMatch(/model\.bad\.weight.*row 7\b/);
  });

  test("refuses vectors and segments that are not finite", () => {
    const bad = Float32Array.of(1, Number.NaN);
    const data = { name: "test.lora", rank: 1, rows: 2, cols: 2 };
    const good = Float32Array.of(1, 2);
    const refused = expect.objectContaining({ code: "WEIGHTS_NOT_FINITE" });
    expect(() => backend.loadVector("norm", bad)).toThrow(refused);
    expect(() => backend.loadSegment({ ...data, a: bad, b: good }, "f32")).toThrow(refused);
    expect(() => backend.loadSegment({ ...data, a: good, b: bad }, "q8")).toThrow(refused);
    expect(() => backend.loadSegment({ ...data, a: good, b: good, bias: bad }, "q4")).toThrow(
      refused,
    );
  });

  test("lets a failing source through and goes on", async () => {
    const source = {
      ...matrixSource(new Float32Array(64), 2, 32),
      read: async () => {
        throw new TureenError("SOURCE_READ_FAILED", "the line went dead");
      },
    };
    await expect(backend.loadMatrix(source, "q8")).rejects.toMatchObject({
      code: "SOURCE_READ_FAILED",
    });
    await compare(backend, cases[0]!);
  });

  test("names the misuse of handles", async () => {
    const operands = new Operands(backend);
    const x = await operands.tensor(randomValues(32, 1), 1, 32);
    const freed = backend.createTensor(1, 32);
    backend.free(freed);
    expect(() => backend.siluMul(x, x, freed, 1)).toThrow(/freed/);
    expect(() => backend.free(freed)).toThrow(/freed/);
    const other = await create();
    const foreign = other.createTensor(1, 32);
    expect(() => backend.siluMul(x, x, foreign, 1)).toThrow(/another backend/);
    await other.dispose();
    operands.free();
  });

  test("checks shapes, rows and positions", async () => {
    const operands = new Operands(backend);
    const { keep } = { keep: operands.keep.bind(operands) };
    const x = keep(backend.createTensor(2, 32));
    const narrow = keep(backend.createTensor(2, 31));
    const weight = await operands.matrix(randomValues(32 * 32, 1), 32, 32, "q8");
    const norm = keep(backend.loadVector("norm", new Float32Array(31)));
    const rope = keep(
      backend.createRope({ headDim: 8, theta: 1e4, scaling: undefined, length: 4 }),
    );
    const cache = keep(backend.createKvCache({ layers: 1, kvHeads: 4, headDim: 8, length: 4 }));
    const out = keep(backend.createTensor(2, 32));
    const span = (position: number, n: number): Span => ({ cache, position, n });
    const [a, b] = [new Float32Array(32), new Float32Array(32)];
    const data = { name: "test.lora", rank: 1, rows: 32, cols: 32, a, b };
    const segment = keep(backend.loadSegment(data, "q8"));
    const misuses: Record<string, () => void> = {
      "embed: id": () => backend.embed(x, weight, [32]),
      "embed: rows": () => backend.embed(x, weight, [1, 2, 3]),
      "embed: cols": () => backend.embed(narrow, weight, [1]),
      "rmsNorm: weight": () => backend.rmsNorm(x, x, norm, 1e-5, 1),
      "linear: in": () => backend.linear(narrow, 1, [{ out, weight, bank: [] }]),
      "linear: out": () => backend.linear(x, 1, [{ out: narrow, weight, bank: [] }]),
      "linear: rows": () => backend.linear(x, 3, [{ out, weight, bank: [] }]),
      "linear: row": () => backend.linear(x, 2, [{ out, weight, bank: [] }], 1),
      "linear: m": () => {
        const bank = [{ segment, m: [1] }];
        backend.linear(x, 2, [{ out, weight, bank }]);
      },
      "rope: position": () => backend.rope(x, rope, [span(3, 2)]),
      "rope: cols": () => backend.rope(narrow, rope, [span(0, 1)]),
      "rope: rows": () => backend.rope(x, rope, [span(0, 1), span(0, 2)]),
      "rope: no spans": () => backend.rope(x, rope, []),
      "writeKv: position": () => backend.writeKv(0, x, out, [span(0, 1), span(4, 1)]),
      "writeKv: layer": () => backend.writeKv(1, x, out, [span(0, 1)]),
      "writeKv: rows": () => backend.writeKv(0, x, out, [span(0, 1), span(1, 2)]),
      "attention: position": () => backend.attention(out, x, 0, [span(4, 1)]),
      "attention: cols": () => backend.attention(narrow, narrow, 0, [span(0, 1)]),
      "attention: rows": () => backend.attention(out, x, 0, [span(0, 3)]),
      "attention: empty span": () => backend.attention(out, x, 0, [span(0, 0)]),
      "siluMul: cols": () => backend.siluMul(x, x, narrow, 1),
      "createRope: odd": () =>
        keep(backend.createRope({ headDim: 7, theta: 1e4, scaling: undefined, length: 4 })),
    };
    for (const [what, misuse] of Object.entries(misuses)) {
      expect(misuse, what).toThrow(Error);
    }
    await expect(async () => backend.read(x, 1, 2)).rejects.toThrow(Error);
    await compare(backend, cases[0]!);
    operands.free();
  });

  test("gives memory back", async () => {
    // 100 × 64 MiB would not fit a 4 GiB address space
    for (let i = 0; i < 100; i++) {
      const tensor = backend.createTensor(4096, 4096);
      backend.free(tensor);
    }
  });

  test("is dead after dispose", async () => {
    const own = await create();
    const x = own.createTensor(1, 4);
    await own.dispose();
    const dead = expect.objectContaining({ code: "DISPOSED" });
    expect(() => own.createTensor(1, 4)).toThrow(dead);
    expect(() => own.siluMul(x, x, x, 1)).toThrow(dead);
    await expect(async () => own.read(x, 0, 1)).rejects.toMatchObject({ code: "DISPOSED" });
    await own.dispose();
  });
});

/** Rows that meet the edges of the rounding: each gives column c. */
function awkwardRows(): ((c: number) => number)[] {
  return [
    () => 0,
    () => -0,
    (c) => (c === 3 ? 1e-45 : 0), // subnormal: 127 / amax overflows
    (c) => (c % 2 === 0 ? 1e-38 : -1e-38),
    (c) => 3e-37 * (c - 20), // around the overflow of 127 / amax
    (c) => 1e38 * (c / 45), // huge
    () => 1.5, // no range
    () => -7.25,
    (c) => c - 22.5, // ties
    (c) => (c % 16) / 2,
    (c) => (c === 40 ? 1000 : c / 1000), // the tail block has its own scale
    (c) => (c < 32 ? 0 : -5), // tail of one value
    (c) => 1 + c * 2 ** -23, // neighbours
    ...[1, 2, 3, 4].map((seed) => {
      const values = randomValues(64, seed, 10 ** (3 * seed - 8));
      return (c: number): number => values[c]!;
    }),
  ];
}
