// Fused passes. Over many rows, where they also quantize what they make, the bits are those of the operations one by one; over one
// row, where sums have another order, the numbers are near the reference's, step by step.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, SoupEntry, WeightType } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import type { WebGpuBackend } from "../../src/backend/webgpu/webgpu-backend.ts";
import { linearBound } from "../backend/cases.ts";
import { Operands } from "../support/operands.ts";
import { EPS, expectClose, expectSameBits, maxAbs, randomValues } from "../support/values.ts";
import { createTestWebGpu, webgpuMissing } from "../support/webgpu.ts";

describe.skipIf(webgpuMissing !== undefined)("fused passes", () => {
  let backend: Backend & WebGpuBackend;
  beforeAll(async () => {
    backend = (await createTestWebGpu()) as Backend & WebGpuBackend;
  });
  afterAll(async () => {
    await backend.dispose();
  });

  const NORM_AND_GATES = ["rmsnorm", "matmul", "silu-mul", "matmul"];
  test.each([
    { type: "f32", n: 5, adapters: 0, shaders: NORM_AND_GATES },
    { type: "q8", n: 5, adapters: 0, shaders: NORM_AND_GATES },
    { type: "q4", n: 33, adapters: 0, shaders: NORM_AND_GATES },
    {
      type: "q4",
      n: 7,
      adapters: 2,
      shaders: [
        "rmsnorm",
        "matmul",
        "quantize",
        "matmul",
        "silu-mul",
        "matmul",
        "quantize",
        "matmul",
      ],
    },
  ] as const)("$type, $n rows, $adapters adapters", async ({ type, n, adapters, shaders }) => {
    const [cols, hidden] = [70, 300];
    const operands = new Operands(backend);
    const matrix = (rows: number, width: number, seed: number) =>
      operands.matrix(randomValues(rows * width, seed), rows, width, type);
    const [gate, up] = [await matrix(hidden, cols, 1), await matrix(hidden, cols, 2)];
    const down = await matrix(cols, hidden, 3);
    const bankOf = (rows: number, width: number): SoupEntry[] =>
      Array.from({ length: adapters }, (_, i) => {
        const rank = 4 + i;
        const [a, b] = [randomValues(rank * width, 10 + i), randomValues(rows * rank, 20 + i)];
        const data = { name: "test.lora", rank, rows, cols: width, a, b };
        return { segment: operands.keep(backend.loadSegment(data, type)), m: 0.5 + i };
      });
    const banks = [bankOf(hidden, cols), bankOf(hidden, cols), bankOf(cols, hidden)] as const;
    const weight = operands.keep(backend.loadVector("norm", randomValues(cols, 4, 2)));
    const x = await operands.tensor(randomValues(n * cols, 5, 3), n, cols);

    const run = async (apart: boolean): Promise<Float32Array[]> => {
      const [normed, out] = [await operands.out(n, cols), await operands.out(n, cols)];
      const [g, u] = [await operands.out(n, hidden), await operands.out(n, hidden)];
      const separate = async (): Promise<void> => {
        if (apart) await backend.read(x, 0, 1);
      };
      const list: string[] = [];
      backend.onSubmit = (dispatches) =>
        list.push(...dispatches.map(({ shader }) => shader.replace(/-(f32|q8|q4)$/, "")));
      backend.rmsNorm(normed, x, weight, 1e-5, n);
      await separate();
      backend.linear(normed, n, [
        { out: g, weight: gate, bank: banks[0] },
        { out: u, weight: up, bank: banks[1] },
      ]);
      await separate();
      backend.siluMul(g, g, u, n);
      await separate();
      backend.linear(g, n, [{ out, weight: down, bank: banks[2] }]);
      await backend.read(x, 0, 1);
      backend.onSubmit = undefined;
      const quantized = type === "f32" ? 0 : 2;
      expect(list.length).toBe(shaders.length + (apart ? quantized : 0));
      if (!apart) expect(list).toEqual(shaders);
      return Promise.all([normed, g, out].map((tensor) => operands.result(tensor, n)));
    };
    const [together, alone] = [await run(false), await run(true)];
    for (const [i, values] of together.entries()) expectSameBits(values, alone[i]!, `result ${i}`);
    operands.free();
  });

  const TYPES = ["f32", "q8", "q4"] as const;
  test.each(TYPES.flatMap((gates) => TYPES.map((last) => ({ gates, last }))))(
    "one row with adapters: gate and up $gates, down $last",
    async ({ gates, last }) => {
      const [cols, hidden, rank] = [70, 300, 8];
      const load = async (subject: Backend, x: Float32Array) => {
        const operands = new Operands(subject);
        const output = async (rows: number, width: number, type: WeightType, seed: number) => {
          const data = {
            name: "test.lora",
            rank,
            rows,
            cols: width,
            a: randomValues(rank * width, seed + 1),
            b: randomValues(rows * rank, seed + 2),
          };
          const values = randomValues(rows * width, seed);
          return {
            out: await operands.out(1, rows),
            weight: await operands.matrix(values, rows, width, type),
            bank: [{ segment: operands.keep(subject.loadSegment(data, type)), m: 0.5 }],
          };
        };
        return {
          operands,
          x: await operands.tensor(x, 1, x.length),
          gate: await output(hidden, cols, gates, 1),
          up: await output(hidden, cols, gates, 4),
          down: await output(cols, hidden, last, 7),
        };
      };
      const x = randomValues(cols, 10);
      const { operands, ...on } = await load(backend, x);
      const product = await operands.out(1, hidden);
      const list: string[] = [];
      backend.onSubmit = (dispatches) => list.push(...dispatches.map(({ shader }) => shader));
      backend.linear(on.x, 1, [on.gate, on.up]);
      backend.siluMul(product, on.gate.out, on.up.out, 1);
      backend.linear(product, 1, [on.down]);
      await backend.read(on.x, 0, 1);
      backend.onSubmit = undefined;
      // A x of down rides in silu-mul where it is held as gate and up are
      const first = [`matvec-${gates}`, `silu-mul-${gates}`];
      expect(list).toEqual([...first, ...new Array(gates === last ? 1 : 2).fill(`matvec-${last}`)]);

      const tensors = [on.gate.out, on.up.out, product, on.down.out];
      const [gate, up, between, out] = await Promise.all(
        tensors.map((tensor) => operands.result(tensor, 1)),
      );
      const reference = createReferenceBackend();
      // each step from what the one before made on the GPU, so that its own error alone counts
      const one = await load(reference, x);
      reference.linear(one.x, 1, [one.gate, one.up]);
      const bank = [{ rank, m: 0.5 }];
      const bound = linearBound({ type: gates, rows: hidden, cols, n: 1, bank })();
      expectClose(gate!, await one.operands.result(one.gate.out, 1), bound);
      expectClose(up!, await one.operands.result(one.up.out, 1), bound);
      const two = await load(reference, between!);
      const [g, u] = [
        await two.operands.tensor(gate!, 1, hidden),
        await two.operands.tensor(up!, 1, hidden),
      ];
      reference.siluMul(g, g, u, 1);
      const silu = await two.operands.result(g, 1);
      // as siluMulCase: e^-z within (3 + 2 |z|) ulp
      const size = 3 + 2 * maxAbs(gate!);
      expectClose(between!, silu, (i) => Math.abs(silu[i]!) * (2 * size + 8) * EPS + 1e-35);
      reference.linear(two.x, 1, [two.down]);
      const most = linearBound({ type: last, rows: cols, cols: hidden, n: 1, bank })();
      expectClose(out!, await two.operands.result(two.down.out, 1), most * maxAbs(between!));
      for (const each of [operands, one.operands, two.operands]) each.free();
    },
  );

  test("sequences side by side: attention, joined and quantized for what follows", async () => {
    const [kvHeads, headDim, n] = [2, 32, 5];
    const cols = 4 * headDim;
    const operands = new Operands(backend);
    const weight = await operands.matrix(randomValues(40 * cols, 1), 40, cols, "q8");
    const q = await operands.tensor(randomValues(n * cols, 2, 2), n, cols);
    const caches = Array.from({ length: n }, () =>
      operands.keep(backend.createKvCache({ layers: 1, kvHeads, headDim, length: 200 })),
    );
    const past = randomValues(150 * kvHeads * headDim, 3, 2);
    const k = await operands.tensor(past, 150, kvHeads * headDim);
    for (const cache of caches) backend.writeKv(0, k, k, [{ cache, position: 0, n: 150 }]);
    const spans = caches.map((cache, i) => ({ cache, position: 149 - 30 * i, n: 1 }));
    const run = async (apart: boolean): Promise<Float32Array> => {
      const [attended, out] = [await operands.out(n, cols), await operands.out(n, 40)];
      const list: string[] = [];
      backend.onSubmit = (dispatches) =>
        list.push(...dispatches.map(({ shader }) => shader.split(" ")[0]!));
      backend.attention(attended, q, 0, spans);
      if (apart) await backend.read(q, 0, 1);
      backend.linear(attended, n, [{ out, weight, bank: [] }]);
      await backend.read(q, 0, 1);
      backend.onSubmit = undefined;
      const joined = apart ? ["attention-combine-f32", "quantize"] : ["attention-combine-q8"];
      expect(list).toEqual(["attention", ...joined, "matmul-q8"]);
      return operands.result(out, n);
    };
    expectSameBits(await run(false), await run(true), "product");
    operands.free();
  });
});
