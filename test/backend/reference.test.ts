// The reference against the formulas themselves, written a second time in f64, and its rounding against numbers worked out
// by hand. A mistake here would be a mistake of every backend.
import { describe, expect, test } from "vitest";
import type { Backend, BankEntry } from "../../src/backend/backend.ts";
import { ceilToBf16, floorToBf16 } from "../../src/backend/bf16.ts";
import {
  blockCount,
  dequantize,
  quantizeBlockQ4,
  quantizeBlockQ8,
  quantizeRows,
  roundHalfEven,
} from "../../src/backend/quantize.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { ropeFrequencies } from "../../src/backend/rope-frequencies.ts";
import { GUARD, Operands } from "../support/operands.ts";
import { EPS, expectClose, randomValues } from "../support/values.ts";

const backend: Backend = createReferenceBackend();
const f = Math.fround;

/** Σ w x in f64 over row `row` of w [.., x.length]. */
function dot(w: ArrayLike<number>, row: number, x: ArrayLike<number>): number {
  return Array.from(x).reduce((sum, value, k) => sum + value * w[row * x.length + k]!, 0);
}

describe("rounding", () => {
  test("ties go to even", () => {
    const numbers = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 126.5, 0.49999997, -3.4];
    expect(numbers.map(roundHalfEven).map((x) => x + 0)).toEqual([-2, -2, 0, 0, 2, 2, 126, 0, -3]);
  });

  test("q8: d = amax / 127", () => {
    const x = Float32Array.of(1, -2, 0.5, 254, -254, 3);
    const q = new Int8Array(6);
    expect(quantizeBlockQ8(x, 0, 6, q, 0)).toBe(2);
    // 127 / 254 is exactly 0.5: 0.5 → 0, -1, 0.25 → 0, 127, -127, 1.5 → 2
    expect([...q]).toEqual([0, -1, 0, 127, -127, 2]);
  });

  test("q4: d = (hi - m) / 15, m = lo, where bf16 holds them", () => {
    const x = Float32Array.of(-3, 27, 0, 1, 11, -2);
    const q = new Int8Array(6);
    expect(quantizeBlockQ4(x, 0, 6, q, 0)).toEqual({ d: 2, m: -3 });
    // (x + 3) / 2: 0, 15, 1.5 → 2, 2, 7, 0.5 → 0
    expect([...q]).toEqual([0, 15, 2, 2, 7, 0]);
  });

  test("q4: m is rounded down and d up, so that the steps reach over all values", () => {
    const q = new Int8Array(3);
    // Between 1 and 2 bf16s are 2^-7 apart, between 1/8 and 1/4 2^-10.
    const [lo, hi] = [1 + 2 ** -9, 4 + 2 ** -9];
    const d = Math.ceil((3 + 2 ** -9) / 15 / 2 ** -10) * 2 ** -10;
    expect(quantizeBlockQ4(Float32Array.of(lo, hi, 2), 0, 3, q, 0)).toEqual({ d, m: 1 });
    expect([...q]).toEqual([0, 15, 5]);
  });

  test("bf16s below and above a number are neighbours", () => {
    const bits = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0]!;
    for (const magnitude of [0, 1e-45, 1e-39, 0.1, 1 - 2 ** -20, 1, 1 + 2 ** -7, 1.01, 3e38]) {
      for (const x of [f(magnitude), f(-magnitude)]) {
        const [low, high] = [floorToBf16(x), ceilToBf16(x)];
        expect(low).toBeLessThanOrEqual(x);
        expect(high).toBeGreaterThanOrEqual(x);
        expect([bits(low) & 0xffff, bits(high) & 0xffff]).toEqual([0, 0]);
        expect(Math.abs(bits(high) - bits(low))).toBe(bits(x) & 0xffff ? 0x10000 : 0);
      }
    }
  });

  test("blocks without a usable scale are constant", () => {
    const q = new Int8Array(2).fill(99);
    expect(quantizeBlockQ8(new Float32Array(2), 0, 2, q, 0)).toBe(0);
    expect([...q]).toEqual([0, 0]);
    q.fill(99);
    expect(quantizeBlockQ8(Float32Array.of(1e-40, 0), 0, 2, q, 0)).toBe(0);
    expect([...q]).toEqual([0, 0]);
    expect(quantizeBlockQ4(Float32Array.of(5, 5), 0, 2, q, 0)).toEqual({ d: 0, m: 5 });
    expect(quantizeBlockQ4(Float32Array.of(0, 1e-40), 0, 2, q, 0)).toEqual({ d: 0, m: 0 });
    expect([...q]).toEqual([0, 0]);
  });

  test.each(["q8", "q4"] as const)("%s is within half a step of the value", (type) => {
    const [rows, cols] = [5, 77];
    const x = randomValues(rows * cols, 1, 3);
    const quantized = quantizeRows(x, rows, cols, type);
    expect(blockCount(cols)).toBe(3);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) {
        const step = quantized.d[row * 3 + Math.floor(col / 32)]!;
        const error = Math.abs(dequantize(quantized, row, col) - x[row * cols + col]!);
        expect(error).toBeLessThanOrEqual(step * (0.5 + 1e-5));
      }
    }
  });
});

describe("operations follow their formulas", () => {
  test("rmsNorm: x / sqrt(mean(x²) + eps) ⊙ weight", async () => {
    const [n, cols, eps] = [3, 50, 1e-5];
    const operands = new Operands(backend);
    const [x, weight] = [randomValues(n * cols, 1), randomValues(cols, 2)];
    const out = await operands.out(n, cols);
    const vector = backend.loadVector("norm", weight);
    backend.rmsNorm(out, await operands.tensor(x, n, cols), vector, eps, n);
    const expected = Array.from(x, (value, i) => {
      const row = x.subarray(Math.floor(i / cols) * cols, (Math.floor(i / cols) + 1) * cols);
      return (value / Math.sqrt(dot(row, 0, row) / cols + eps)) * weight[i % cols]!;
    });
    expectClose(await operands.result(out, n), expected, 2 * EPS * 3);
  });

  test("linear f32: out + W x + b + Σ m (B (A x) + c)", async () => {
    const { n, rows, cols, rank } = { n: 2, rows: 9, cols: 40, rank: 3 };
    const operands = new Operands(backend);
    const w = randomValues(rows * cols, 1);
    const x = randomValues((n + 1) * cols, 2);
    const bias = randomValues(rows, 3);
    const old = randomValues(n * rows, 4);
    const [a, b, c] = [5, 6, 7].map((seed) => randomValues(rank * cols, seed));
    const entries: BankEntry[] = [0.7, -1.3, 0].map((m, i) => ({
      segment: backend.loadSegment(
        {
          name: "lora",
          rank,
          rows,
          cols,
          a: a!,
          b: b!.slice(0, rows * rank),
          bias: i === 1 ? c!.slice(0, rows) : undefined,
        },
        "f32",
      ),
      m,
    }));
    const out = await operands.tensor(old, n, rows);
    const weight = await operands.matrix(w, rows, cols, "f32");
    const input = await operands.tensor(x, n + 1, cols);
    const vector = backend.loadVector("bias", bias);
    backend.linear(input, n, [{ out, weight, bias: vector, bank: entries, accumulate: true }], 1);
    const expected = Array.from({ length: n * rows }, (_, i) => {
      const token = x.subarray((Math.floor(i / rows) + 1) * cols).subarray(0, cols);
      const o = i % rows;
      const ax = Array.from({ length: rank }, (_, r) => dot(a!, r, token));
      const lora = (0.7 - 1.3) * dot(b!, o, ax) - 1.3 * c![o]!;
      return old[i]! + dot(w, o, token) + bias[o]! + lora;
    });
    // h is rounded to f32 for each rank and the result once; |h| < 14, |result| < 32
    expectClose(await operands.result(out, n), expected, EPS * (2 * rank * 14 + 32));
  });

  test.each(["q8", "q4"] as const)(
    "linear %s follows the rounding of quantize.ts",
    async (type) => {
      // one row, one block and a tail; worked in the order of the rules
      const [cols, rank] = [40, 2];
      const operands = new Operands(backend);
      const [w, x] = [randomValues(cols, 1), randomValues(cols, 2)];
      const [a, b] = [randomValues(rank * cols, 3), randomValues(rank, 4)];
      const [bias, old, m] = [f(0.3), f(-0.8), f(1.7)];
      const data = { name: "lora", rank, rows: 1, cols, a, b };
      const out = await operands.tensor(Float32Array.of(old), 1, 1);
      const weight = await operands.matrix(w, 1, cols, type);
      const vector = backend.loadVector("bias", Float32Array.of(bias));
      const bank = [{ segment: backend.loadSegment(data, type), m }];
      const input = await operands.tensor(x, 1, cols);
      backend.linear(input, 1, [{ out, weight, bias: vector, bank, accumulate: true }]);

      const qx = quantizeRows(x, 1, cols, "q8");
      const product = (
        sum: number,
        qw: ReturnType<typeof quantizeRows>,
        row: number,
        q = qx,
      ): number => {
        for (let block = 0; block < qw.blocks; block++) {
          const ints = (from: Int8Array, at: number): number[] => [
            ...from.slice(at * 32, at * 32 + 32),
          ];
          const at = row * qw.blocks + block;
          const [wi, xi] = [ints(qw.q, at), ints(q.q, block)];
          const dot32 = wi.reduce((total, value, i) => total + value * xi[i]!, 0);
          sum = f(sum + f(f(dot32) * f(qw.d[at]! * q.d[block]!)));
          const xSum = f(q.d[block]! * xi.reduce((total, value) => total + value, 0));
          if (qw.m !== undefined) sum = f(sum + f(qw.m[at]! * xSum));
        }
        return sum;
      };
      const qa = quantizeRows(a, rank, cols, type);
      const h = Float32Array.of(f(m * product(0, qa, 0)), f(m * product(0, qa, 1)));
      const base = f(old + f(product(0, quantizeRows(w, 1, cols, type), 0) + bias));
      const qb = quantizeRows(b, 1, rank, type);
      const expected = product(base, qb, 0, quantizeRows(h, 1, rank, "q8"));
      expect((await operands.result(out, 1))[0]).toBe(expected);
      // and it is near what unquantized weights give: steps of 1/127 or 2/15, 40 terms
      const exact = old + bias + dot(w, 0, x) + m * dot(b, 0, [dot(a, 0, x), dot(a, 1, x)]);
      expect(Math.abs(expected - exact)).toBeLessThan(type === "q8" ? 0.1 : 0.9);
    },
  );

  test("rope: pairs j and j + headDim/2 turn by position · theta^(-2j / headDim)", async () => {
    const [headDim, heads, n, position] = [6, 2, 3, 11];
    const cols = headDim * heads;
    const operands = new Operands(backend);
    const values = randomValues(n * cols, 1);
    const x = await operands.tensor(values, n, cols);
    const rope = backend.createRope({ headDim, theta: 100, scaling: undefined, length: 20 });
    backend.rope(x, rope, [{ cache: operands.noCache(), position, n }]);
    const expected = Array.from(values, (value, i) => {
      const j = i % headDim;
      const angle = (position + Math.floor(i / cols)) * 100 ** ((-2 * (j % 3)) / headDim);
      const partner = j < 3 ? -values[i + 3]! : values[i - 3]!;
      return value * Math.cos(angle) + partner * Math.sin(angle);
    });
    expectClose(await operands.result(x, n), expected, 4 * EPS);
  });

  test("rope scaling follows transformers", () => {
    const linear = ropeFrequencies(8, 1e4, { type: "linear", factor: 4 }, Math.pow);
    expect(linear[1]).toBeCloseTo(0.025, 15);
    const llama3 = ropeFrequencies(
      128,
      500000,
      { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalLength: 8192 },
      Math.pow,
    );
    const plain = ropeFrequencies(128, 500000, undefined, Math.pow);
    // Llama 3.1: wavelength below 2048 unchanged, above 8192 divided by 8, smooth between
    expect(llama3[0]).toBe(1);
    expect(llama3[28]).toBe(plain[28]);
    expect(llama3[63]).toBe(plain[63]! / 8);
    const wavelength = (2 * Math.PI) / plain[31]!;
    const smooth = (8192 / wavelength - 1) / 3;
    expect(smooth).toBeGreaterThan(0);
    expect(smooth).toBeLessThan(1);
    expect(llama3[31]).toBeCloseTo(plain[31]! * ((1 - smooth) / 8 + smooth), 15);
  });

  test.each([undefined, 4])(
    "attention: causal softmax(q kᵀ / sqrt(headDim)) v with grouped heads, window %s",
    async (window) => {
      const { heads, kvHeads, headDim, position, n } = {
        heads: 4,
        kvHeads: 2,
        headDim: 6,
        position: 5,
        n: 3,
      };
      const [cols, kvCols, seen] = [heads * headDim, kvHeads * headDim, position + n];
      const operands = new Operands(backend);
      const q = randomValues(n * cols, 1, 2);
      const [k, v] = [randomValues(seen * kvCols, 2, 2), randomValues(seen * kvCols, 3)];
      const cache = backend.createKvCache({ layers: 2, kvHeads, headDim, length: 10 });
      const keys = await operands.tensor(k, seen, kvCols);
      const values = await operands.tensor(v, seen, kvCols);
      backend.writeKv(1, keys, values, [{ cache, position: 0, n: seen }]);
      const out = await operands.out(n, cols);
      const query = await operands.tensor(q, n, cols);
      backend.attention(out, query, 1, [{ cache, position, n }], window);
      const expected = Array.from(q, (_, i) => {
        const token = Math.floor(i / cols);
        const head = Math.floor((i % cols) / headDim);
        const query = q.subarray(token * cols + head * headDim).subarray(0, headDim);
        const kv = Math.floor(head / 2) * headDim; // heads 0, 1 read KV head 0; heads 2, 3 read 1
        const weights = Array.from({ length: position + token + 1 }, (_, t) =>
          position + token - t < (window ?? 100)
            ? Math.exp(dot(k.subarray(t * kvCols + kv), 0, query) / Math.sqrt(headDim))
            : 0,
        );
        const total = weights.reduce((sum, w) => sum + w, 0);
        const j = i % headDim;
        return weights.reduce((sum, w, t) => sum + (w / total) * v[t * kvCols + kv + j]!, 0);
      });
      expectClose(await operands.result(out, n), expected, EPS);
    },
  );

  test("siluMul: z / (1 + e^-z) · up", async () => {
    const operands = new Operands(backend);
    const [z, up] = [Float32Array.of(0, 1, -1, 20, -200), Float32Array.of(5, 2, 3, 0.5, 1)];
    const gate = await operands.tensor(z, 1, 5);
    backend.siluMul(gate, gate, await operands.tensor(up, 1, 5), 1);
    const expected = [0, 2 / (1 + Math.exp(-1)), -3 / (1 + Math.E), 10 / (1 + Math.exp(-20)), 0];
    expectClose(await operands.result(gate, 1), expected, 10 * EPS);
  });

  test("geluMul: z/2 (1 + tanh(√(2/π) (z + 0.044715 z³))) · up", async () => {
    const operands = new Operands(backend);
    const [z, up] = [Float32Array.of(0, 1, -1, 20, -200), Float32Array.of(5, 2, 3, 0.5, 1)];
    const gate = await operands.tensor(z, 1, 5);
    backend.geluMul(gate, gate, await operands.tensor(up, 1, 5), 1);
    // gelu(1) = 0.8411919906082768, by torch's gelu(approximate="tanh")
    const expected = [0, 2 * 0.8411919906082768, 3 * (0.8411919906082768 - 1), 10, 0];
    expectClose(await operands.result(gate, 1), expected, 10 * EPS);
  });

  test("the guard rows of these tests work", async () => {
    const operands = new Operands(backend);
    const x = await operands.tensor(Float32Array.of(1, 2), 2, 1);
    expect(await backend.read(x, 0, 4)).toEqual(Float32Array.of(1, 2, GUARD, GUARD));
    await expect(
      operands.result(await operands.tensor(Float32Array.of(1), 1, 1), 1),
    ).resolves.toEqual(Float32Array.of(1));
    backend.siluMul(x, x, x, 3);
    await expect(operands.result(x, 2)).rejects.toThrow("overwritten");
  });
});
