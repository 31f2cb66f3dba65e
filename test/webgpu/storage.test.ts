// How much memory things take on a GPU, and in how few dispatches the rows of many sequences go.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, KvCacheOptions } from "../../src/backend/backend.ts";
import type { Dispatch } from "../../src/backend/webgpu/dispatch-list.ts";
import type { WebGpuBackend } from "../../src/backend/webgpu/webgpu-backend.ts";
import { fromFloat32 } from "../../src/formats/float.ts";
import { bytesSource, matrixSource, Operands } from "../support/operands.ts";
import { randomValues } from "../support/values.ts";
import { createTestWebGpu, webgpuMissing } from "../support/webgpu.ts";

describe.skipIf(webgpuMissing !== undefined)("storage on a GPU", () => {
  let backend: Backend & WebGpuBackend;
  beforeAll(async () => {
    backend = (await createTestWebGpu()) as Backend & WebGpuBackend;
  });
  afterAll(async () => {
    await backend.dispose();
  });

  test.each([
    ["F32", 4],
    ["F16", 2],
    ["BF16", 2],
  ] as const)("f32 weights take what they take in a file of %s", async (dtype, size) => {
    const [rows, cols] = [40, 64];
    const values = randomValues(rows * cols, 1);
    const source = bytesSource(fromFloat32(values, dtype), rows, cols, dtype);
    const matrix = await backend.loadMatrix(source, "f32");
    expect(matrix.nBytes).toBe(rows * cols * size);
    expect(backend.memory.weights).toBe(rows * cols * size);
    // folded, they are no longer what the file has
    await backend.replaceMatrix(matrix, matrixSource(values, rows, cols));
    expect(matrix.nBytes).toBe(rows * cols * 4);
    expect(backend.memory.weights).toBe(rows * cols * 4);
    await backend.replaceMatrix(matrix, source);
    expect(backend.memory.weights).toBe(rows * cols * size);
    backend.free(matrix);
  });

  test.each([
    ["q8", 9],
    ["q4", 5],
  ] as const)("%s weights and adapters take %d bits per number", async (type, bits) => {
    const [rows, cols, rank] = [40, 64, 32];
    const operands = new Operands(backend);
    const matrix = await operands.matrix(randomValues(rows * cols, 1), rows, cols, type);
    expect(matrix.nBytes).toBe((rows * cols * bits) / 8);
    const [a, b] = [randomValues(rank * cols, 2), randomValues(rows * rank, 3)];
    const data = { name: "test.lora", rank, rows, cols, a, b };
    const segment = operands.keep(backend.loadSegment(data, type));
    expect(segment.nBytes).toBe(((rank * cols + rows * rank) * bits) / 8);
    operands.free();
  });

  const shape = { layers: 2, kvHeads: 2, headDim: 64, length: 32 };

  test.each([
    ["f32", 4],
    ["f16", 2],
  ] as const)("a cache of type %s takes %d bytes per number", (type, size) => {
    const cache = backend.createKvCache({ type, ...shape });
    const nBytes = 2 * size * 2 * 2 * 64 * 32;
    expect(cache.nBytes).toBe(nBytes);
    expect(backend.memory.caches).toBe(nBytes);
    backend.free(cache);
    expect(backend.memory.caches).toBe(0);
  });

  /** Dispatches of one position each in all of these caches. */
  async function dispatchesFor(options: readonly KvCacheOptions[]): Promise<string[]> {
    const operands = new Operands(backend);
    const caches = options.map((each) => operands.keep(backend.createKvCache(each)));
    const rows = caches.length;
    const x = await operands.tensor(randomValues(rows * 256, 1), rows, 256);
    const [k, v] = [await operands.out(rows, 128), await operands.out(rows, 128)];
    const out = await operands.out(rows, 256);
    const shaders: string[] = [];
    backend.onSubmit = (list: readonly Dispatch[]) =>
      shaders.push(...list.map(({ shader }) => shader.split(" ")[0]!));
    const spans = caches.map((cache) => ({ cache, position: 3, n: 1 }));
    backend.writeKv(1, k, v, spans);
    backend.attention(out, x, 1, spans);
    await operands.result(out, rows);
    backend.onSubmit = undefined;
    operands.free();
    return shaders;
  }

  test("one dispatch serves all sequences of a batch, whatever the lengths of their caches", async () => {
    const options = [32, 16, 8, 64, 32].map((length) => ({ ...shape, length }));
    expect(await dispatchesFor(options)).toEqual(["rope-f32", "attention"]);
    expect(backend.memory.caches).toBe(0);
  });

  test("caches of both types are read by a dispatch each", async () => {
    const options = [shape, { ...shape, type: "f16" as const }, shape];
    expect(await dispatchesFor(options)).toEqual([
      "rope-f32",
      "rope-f32",
      "attention",
      "attention",
    ]);
  });

  test("heads of 256 are taken, wider or odd ones refused", () => {
    backend.free(backend.createKvCache({ ...shape, headDim: 256 }));
    expect(() => backend.createKvCache({ ...shape, headDim: 258 })).toThrow(
      expect.objectContaining({ code: "MODEL_UNSUPPORTED" }),
    );
    expect(() => backend.createKvCache({ ...shape, headDim: 63 })).toThrow(/odd/);
  });
});
