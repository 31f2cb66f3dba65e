// Passes over many rows that also quantize what they make: the bits are those of the operations one by one, in fewer dispatches.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, SoupEntry } from "../../src/backend/backend.ts";
import type { WebGpuBackend } from "../../src/backend/webgpu/webgpu-backend.ts";
import { Operands } from "../support/operands.ts";
import { expectSameBits, randomValues } from "../support/values.ts";
import { createTestWebGpu, webgpuMissing } from "../support/webgpu.ts";

describe.skipIf(webgpuMissing !== undefined)("fused passes over many rows", () => {
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
