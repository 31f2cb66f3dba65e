// Which backend `auto` takes, and what it says about it.
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { chooseBackend } from "../../src/backend/create-backend.ts";
import { findGpu } from "../../src/backend/webgpu/device.ts";
import { SWIFTSHADER, webgpuMissing } from "../support/webgpu.ts";

describe.skipIf(webgpuMissing !== undefined)("choosing a backend", () => {
  let real: GPU;
  const navigator = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  beforeAll(async () => {
    process.env.VK_DRIVER_FILES ??= SWIFTSHADER;
    real = (await findGpu()) as GPU;
  });
  afterEach(() => {
    if (navigator === undefined) Reflect.deleteProperty(globalThis, "navigator");
    else Object.defineProperty(globalThis, "navigator", navigator);
  });

  /** From now on the host has a GPU of this name: the software renderer in disguise. */
  function disguise(info: Partial<GPUAdapterInfo>): void {
    const all = { vendor: "", architecture: "", device: "", description: "", ...info };
    const wrap = <T extends object>(target: T, own: Partial<Record<keyof T, unknown>>): T =>
      new Proxy(target, {
        get: (_, key) => {
          if (key in own) return own[key as keyof T];
          const value = Reflect.get(target, key);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
    const requestAdapter = async () => wrap((await real.requestAdapter())!, { info: all });
    const gpu = wrap(real, { requestAdapter });
    Object.defineProperty(globalThis, "navigator", { configurable: true, value: { gpu } });
  }

  test("auto leaves a software renderer alone", async () => {
    const { backend, reason } = await chooseBackend();
    expect(backend.name).toBe("wasm");
    expect(reason).toMatch(/^no GPU: .*swiftshader.* is a software renderer$/i);
    await backend.dispose();
  });

  test("auto takes a GPU", async () => {
    disguise({ vendor: "acme", description: "Acme 9000", isFallbackAdapter: false });
    const { backend, reason } = await chooseBackend({ backend: "auto" });
    expect(backend.name).toBe("webgpu");
    expect(reason).toBe("there is a GPU: acme Acme 9000");
    await backend.dispose();
  });

  test("options of wasm ask for wasm", async () => {
    disguise({ vendor: "acme", isFallbackAdapter: false });
    const { backend, reason } = await chooseBackend({ threads: 1 });
    expect(backend.name).toBe("wasm");
    expect(reason).toBe("options of the wasm backend were given");
    await backend.dispose();
  });

  test("what is asked for is taken, a software renderer too", async () => {
    const { backend, reason } = await chooseBackend({ backend: "webgpu", fallback: true });
    expect(backend.name).toBe("webgpu");
    expect(backend.recover).toBeTypeOf("function");
    expect(reason).toBe("it was asked for");
    await backend.dispose();
  });
});
