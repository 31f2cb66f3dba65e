// What a GPU backend keeps and gives back: memory over many texts, pipelines after warm-up, and a device that is lost.
import { beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../src/api/load-model.ts";
import type { Backend } from "../../src/backend/backend.ts";
import { findGpu } from "../../src/backend/webgpu/device.ts";
import type { WebGpuBackend } from "../../src/backend/webgpu/webgpu-backend.ts";
import { createRandomAdapter, createRandomModel } from "../../src/cli/random-model.ts";
import {
  buildModel,
  memoryCheckpoint,
  NO_BANKS,
  randomTensors,
  tinyConfig,
} from "../support/models.ts";
import { matrixSource } from "../support/operands.ts";
import { randomValues } from "../support/values.ts";
import { createTestWebGpu, SWIFTSHADER, webgpuMissing } from "../support/webgpu.ts";

const SOUP = { a: 0.7, b: -0.3 };

describe.skipIf(webgpuMissing !== undefined)("lifetime of a GPU backend", () => {
  /** Every device that was requested. */
  const devices: GPUDevice[] = [];

  beforeAll(async () => {
    process.env.VK_DRIVER_FILES ??= SWIFTSHADER;
    const gpu = (await findGpu()) as GPU;
    const adapter = (await gpu.requestAdapter())!;
    const prototype = Object.getPrototypeOf(adapter) as GPUAdapter;
    const requestDevice = prototype.requestDevice;
    prototype.requestDevice = async function (this: GPUAdapter, descriptor) {
      const device = await requestDevice.call(this, descriptor);
      devices.push(device);
      return device;
    };
  });

  async function load(options: { fallback?: boolean } = {}) {
    const model = await loadModel(await createRandomModel("tiny", 1), {
      backend: "webgpu",
      quantize: "q8",
      contextLength: 48,
      ...options,
    });
    for (const [i, name] of ["a", "b"].entries()) {
      await model.loadAdapter(await createRandomAdapter(model.config, 4, 2 + i), { name });
    }
    return model;
  }

  const prompt = [5, 17, 3, 99];
  const greedy = { temperature: 0, ignoreEos: true, soup: SOUP };

  test("200 passes leave memory and pipelines where they were", async () => {
    const backend = (await createTestWebGpu()) as Backend & WebGpuBackend;
    const config = tinyConfig();
    const checkpoint = memoryCheckpoint(randomTensors(config));
    const model = await buildModel(backend, config, checkpoint, { quantize: "q4" });
    const generate = async (): Promise<void> => {
      const cache = model.decoder.createCache(20);
      await model.decoder.forward([1, 2, 3, 4, 5], 0, cache, NO_BANKS, "last");
      await model.decoder.forward([6], 5, cache, NO_BANKS, "last");
      model.decoder.freeCache(cache);
    };
    await generate();
    const before = backend.memory;
    const { submissions } = before;
    for (let i = 0; i < 100; i++) await generate();
    expect({ ...backend.memory, submissions }).toEqual(before);
    expect(before.caches).toBe(0);
    // a prompt and a token: one submission each
    expect(backend.memory.submissions - submissions).toBe(200);
    await backend.dispose();
  }, 120_000);

  test("a lost device is an error with a code, and the model can be disposed", async () => {
    const model = await load();
    await model.generate(prompt, { ...greedy, maxTokens: 2 }).result();
    devices.at(-1)!.destroy();
    const failed = expect.objectContaining({ code: "BACKEND_FAILED" });
    await expect(model.generate(prompt, { ...greedy, maxTokens: 2 }).result()).rejects.toEqual(
      failed,
    );
    await model.dispose();
    await model.dispose();
  });

  test("with fallback a text goes on on wasm from its tokens", async () => {
    const alone = await load();
    const expected = await alone.generate(prompt, { ...greedy, maxTokens: 12 }).result();
    await alone.dispose();

    const model = await load({ fallback: true });
    expect(model.info.backend.name).toBe("webgpu");
    const tokens: number[] = [];
    for await (const chunk of model.generate(prompt, { ...greedy, maxTokens: 12 }).chunks()) {
      tokens.push(...chunk.tokenIds);
      if (tokens.length === 5) devices.at(-1)!.destroy();
    }
    expect(tokens).toEqual(expected.tokenIds);
    expect(model.info.backend.name).toBe("wasm");
    // and stays usable
    const again = await model.generate(prompt, { ...greedy, maxTokens: 12 }).result();
    expect(again.tokenIds).toEqual(expected.tokenIds);
    await model.dispose();
  });

  /** From now on the driver has no memory for buffers of this name, and says so late, as drivers do. */
  function exhaust(device: GPUDevice, label: string): void {
    let last: string | undefined;
    const { createBuffer, popErrorScope } = device;
    device.createBuffer = (descriptor) => {
      last = descriptor.label;
      return createBuffer.call(device, descriptor);
    };
    device.popErrorScope = async () => {
      const failed = last?.startsWith(label);
      const error = await popErrorScope.call(device);
      return failed ? ({ message: "injected" } as GPUError) : error;
    };
  }

  test("memory that the driver turns out not to have is an error of the load or the next read", async () => {
    const backend = (await createTestWebGpu()) as Backend & WebGpuBackend;
    const device = devices.at(-1)!;
    const full = expect.objectContaining({
      code: "OUT_OF_MEMORY",
      message: expect.stringContaining("injected"),
    });
    const x = backend.createTensor(1, 4);
    const source = matrixSource(randomValues(32 * 32, 1), 32, 32);
    exhaust(device, "weights");
    await expect(backend.loadMatrix(source, "f32")).rejects.toEqual(full);
    expect(backend.memory.weights).toBe(0);
    exhaust(device, "activations");
    backend.createTensor(1024, 1024);
    await expect(backend.read(x, 0, 1)).rejects.toEqual(full);
    await backend.dispose();
  });

  test("a session for which the driver has no memory says so; with fallback it goes on on wasm", async () => {
    const alone = await load();
    const expected = await alone.generate(prompt, { ...greedy, maxTokens: 4 }).result();
    exhaust(devices.at(-1)!, "cache");
    const failed = expect.objectContaining({ code: "OUT_OF_MEMORY" });
    const session = () => ({ session: alone.createSession() });
    const text = alone.generate([...prompt, 7], { ...greedy, maxTokens: 4, ...session() });
    await expect(text.result()).rejects.toEqual(failed);
    await alone.dispose();

    const model = await load({ fallback: true });
    exhaust(devices.at(-1)!, "cache");
    const again = await model.generate(prompt, { ...greedy, maxTokens: 4 }).result();
    expect(again.tokenIds).toEqual(expected.tokenIds);
    expect(model.info.backend.name).toBe("wasm");
    await model.dispose();
  });

  test("more memory than the device has is refused by name, and nothing is left", async () => {
    const backend = (await createTestWebGpu()) as Backend & WebGpuBackend;
    const before = backend.memory;
    const tooLarge = { layers: 1, kvHeads: 64, headDim: 128, length: 2 ** 17 };
    expect(() => backend.createKvCache(tooLarge)).toThrow(
      expect.objectContaining({ code: "OUT_OF_MEMORY" }),
    );
    expect(() => backend.createTensor(2 ** 16, 2 ** 14)).toThrow(
      expect.objectContaining({ code: "OUT_OF_MEMORY" }),
    );
    expect(backend.memory).toEqual(before);
    await backend.dispose();
  });
});
