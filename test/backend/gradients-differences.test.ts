// The reference's derivatives against finite differences of its own forward operations.
//
// L = Σ c ⊙ out with |c| <= 1 is differentiated by (L(-2h) - 8 L(-h) + 8 L(h) - L(2h)) / 12h, h = 2^-4. Inputs are multiples of
// 2^-10 below 4, so x ± 2h is exact in f32. Error: truncation h⁴/30 · |L⁽⁵⁾| = 5e-7 · |L⁽⁵⁾|; and outputs are rounded to f32, off by
// EPS |out| each, of random sign: 0.95 / h · EPS · sqrt(number of outputs) · |out| is 1e-5 here with 50 outputs up to 2. A
// fifth derivative of 100 and thrice the noise stay below TOLERANCE; a wrong formula is wrong in the first digits.
import { expect, test } from "vitest";
import type { SoupEntry, Tensor } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { Operands } from "../support/operands.ts";
import { maxAbs, randomValues } from "../support/values.ts";

const TOLERANCE = 1e-4;
const H = 2 ** -4;

const backend = createReferenceBackend();
const gradients = backend.gradients;
if (gradients === undefined) throw new Error("the reference backend has a backward pass");

/** Multiples of 2^-10. */
function gridValues(n: number, seed: number, scale = 1): Float32Array {
  return randomValues(n, seed, scale).map((value) => Math.round(value * 1024) / 1024);
}

/** Compares the derivative by every place of `input`; `loss` is a function of the changed copy. */
async function expectDerivative(
  actual: Float32Array,
  input: Float32Array,
  loss: (changed: Float32Array) => Promise<number>,
): Promise<void> {
  const expected = new Float64Array(input.length);
  for (let i = 0; i < input.length; i++) {
    const at = (steps: number): Promise<number> => {
      const changed = input.slice();
      changed[i]! += steps * H;
      return loss(changed);
    };
    expected[i] =
      ((await at(-2)) - 8 * (await at(-1)) + 8 * (await at(1)) - (await at(2))) / (12 * H);
  }
  expect(maxAbs(expected)).toBeGreaterThan(0.1);
  for (let i = 0; i < input.length; i++) {
    const scale = Math.max(1, Math.abs(expected[i]!));
    expect(Math.abs(actual[i]! - expected[i]!) / scale, `place ${i}`).toBeLessThan(TOLERANCE);
  }
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

async function withOperands(body: (operands: Operands) => Promise<void>): Promise<void> {
  const operands = new Operands(backend);
  try {
    await body(operands);
  } finally {
    operands.free();
  }
}

test("crossEntropy", () =>
  withOperands(async (operands) => {
    const [n, vocabulary] = [3, 7];
    const weights = [1, 0.5, -0.25];
    const logits = gridValues(n * vocabulary, 1, 2);
    const run = async (values: Float32Array): Promise<[Float32Array, Float32Array]> => {
      const x = await operands.tensor(values, n, vocabulary);
      const losses = await operands.out(n, 1);
      gradients.crossEntropy(x, losses, [6, 0, 3], weights, n);
      return [await operands.result(losses, n), await operands.result(x, n)];
    };
    const ones = new Float32Array(n).fill(1);
    const [, derivative] = await run(logits);
    await expectDerivative(derivative, logits, async (values) => dot((await run(values))[0], ones));
  }));

test("linear with a bank, by input and by every m", () =>
  withOperands(async (operands) => {
    const [n, cols] = [3, 6];
    const x = gridValues(n * cols, 1);
    const rows = [5, 4];
    const c = rows.map((size, p) => gridValues(n * size, 10 + p));
    const weights = await Promise.all(
      rows.map((size, p) => operands.matrix(gridValues(size * cols, 20 + p), size, cols, "f32")),
    );
    const segments = rows.flatMap((size, p) =>
      [1, 3].map((rank) =>
        operands.keep(
          backend.loadSegment(
            {
              name: "test.lora",
              rank,
              rows: size,
              cols,
              a: gridValues(rank * cols, 30 + p),
              b: gridValues(size * rank, 40 + rank),
              bias: rank === 3 ? gridValues(size, 50) : undefined,
            },
            "f32",
          ),
        ),
      ),
    );
    const banks = (m: Float32Array): SoupEntry[][] =>
      rows.map((_, p) => [0, 1].map((e) => ({ segment: segments[2 * p + e]!, m: m[2 * p + e]! })));
    const loss = async (input: Float32Array, m: Float32Array): Promise<number> => {
      const tensor = await operands.tensor(input, n, cols);
      const outs = await Promise.all(rows.map((size) => operands.out(n, size)));
      const products = outs.map((out, p) => ({ out, weight: weights[p]!, bank: banks(m)[p]! }));
      backend.linear(tensor, n, products);
      const results = await Promise.all(outs.map((out) => operands.result(out, n)));
      return results.reduce((sum, result, p) => sum + dot(result, c[p]!), 0);
    };
    const m = Float32Array.of(0.75, 0, -0.5, 2);
    const tensor = await operands.tensor(x, n, cols);
    const dX = await operands.out(n, cols);
    const dM = await operands.tensor(new Float32Array(4), 1, 4);
    const products = await Promise.all(
      rows.map(async (size, p) => ({
        dOut: await operands.tensor(c[p]!, n, size),
        weight: weights[p]!,
        bank: banks(m)[p]!,
        slots: [2 * p, 2 * p + 1],
      })),
    );
    gradients.linearBackward(dX, tensor, dM, n, products);
    await expectDerivative(await operands.result(dX, n), x, (values) => loss(values, m));
    await expectDerivative(await operands.result(dM, 1), m, (values) => loss(x, values));
  }));

test.each([
  { norms: "rows", cols: 9, length: 9 },
  { norms: "heads", cols: 18, length: 6 },
])("rmsNorm of $norms", ({ cols, length }) =>
  withOperands(async (operands) => {
    const [n, eps] = [2, 1e-5];
    const x = gridValues(n * cols, 1, 2);
    const c = gridValues(n * cols, 2);
    const weight = operands.keep(backend.loadVector("norm", gridValues(length, 3, 2)));
    const dX = await operands.tensor(new Float32Array(n * cols), n, cols);
    const dOut = await operands.tensor(c, n, cols);
    gradients.rmsNormBackward(dX, dOut, await operands.tensor(x, n, cols), weight, eps, n);
    await expectDerivative(await operands.result(dX, n), x, async (values) => {
      const out = await operands.out(n, cols);
      backend.rmsNorm(out, await operands.tensor(values, n, cols), weight, eps, n);
      return dot(await operands.result(out, n), c);
    });
  }),
);

test("rope", () =>
  withOperands(async (operands) => {
    const [n, headDim, cols, position] = [3, 6, 12, 2];
    const options = { headDim, theta: 10000, scaling: undefined, length: position + n };
    const rope = operands.keep(backend.createRope(options));
    const x = gridValues(n * cols, 1);
    const c = gridValues(n * cols, 2);
    const dX = await operands.tensor(c, n, cols);
    gradients.ropeBackward(dX, n, rope, position);
    await expectDerivative(await operands.result(dX, n), x, async (values) => {
      const out = await operands.tensor(values, n, cols);
      backend.rope(out, rope, [{ cache: operands.noCache(), position, n }]);
      return dot(await operands.result(out, n), c);
    });
  }));

test.each([
  { heads: 2, kvHeads: 2, headDim: 4 },
  { heads: 6, kvHeads: 2, headDim: 2 },
  { heads: 2, kvHeads: 1, headDim: 4, window: 2 },
])(
  "attention with $heads heads over $kvHeads × $headDim, window $window",
  ({ heads, kvHeads, headDim, window }) =>
    withOperands(async (operands) => {
      const n = 4;
      const cols = [heads * headDim, kvHeads * headDim, kvHeads * headDim];
      const inputs = cols.map((size, i) => gridValues(n * size, 1 + i));
      const c = gridValues(n * cols[0]!, 9);
      const tensors = (values: readonly Float32Array[]): Promise<Tensor[]> =>
        Promise.all(values.map((value, i) => operands.tensor(value, n, cols[i]!)));
      const loss = async (values: readonly Float32Array[]): Promise<number> => {
        const [q, k, v] = (await tensors(values)) as [Tensor, Tensor, Tensor];
        const cache = operands.keep(
          backend.createKvCache({ layers: 1, kvHeads, headDim, length: n }),
        );
        const out = await operands.out(n, cols[0]!);
        const spans = [{ cache, position: 0, n }];
        backend.writeKv(0, k, v, spans);
        backend.attention(out, q, 0, spans, window);
        return dot(await operands.result(out, n), c);
      };
      const [q, k, v] = (await tensors(inputs)) as [Tensor, Tensor, Tensor];
      const [dQ, dK, dV] = (await Promise.all(cols.map((size) => operands.out(n, size)))) as [
        Tensor,
        Tensor,
        Tensor,
      ];
      const dOut = await operands.tensor(c, n, cols[0]!);
      gradients.attentionBackward(dQ, dK, dV, dOut, q, k, v, headDim, n, window);
      for (const [i, derivative] of [dQ, dK, dV].entries()) {
        const actual = await operands.result(derivative, n);
        await expectDerivative(actual, inputs[i]!, (values) =>
          loss(inputs.map((input, j) => (j === i ? values : input))),
        );
      }
    }),
);

test.each(["siluMul", "geluMul"] as const)("%s", (operation) =>
  withOperands(async (operands) => {
    const [n, cols] = [2, 12];
    const inputs = [gridValues(n * cols, 1, 4), gridValues(n * cols, 2, 2)];
    const c = gridValues(n * cols, 3);
    const tensor = (values: Float32Array): Promise<Tensor> => operands.tensor(values, n, cols);
    const loss = async (gate: Float32Array, up: Float32Array): Promise<number> => {
      const out = await operands.out(n, cols);
      backend[operation](out, await tensor(gate), await tensor(up), n);
      return dot(await operands.result(out, n), c);
    };
    const [gate, up] = inputs as [Float32Array, Float32Array];
    const [dGate, dUp] = [await operands.out(n, cols), await operands.out(n, cols)];
    const dOut = await tensor(c);
    gradients[`${operation}Backward`](dGate, dUp, dOut, await tensor(gate), await tensor(up), n);
    await expectDerivative(await operands.result(dGate, n), gate, (values) => loss(values, up));
    await expectDerivative(await operands.result(dUp, n), up, (values) => loss(gate, values));
  }),
);
