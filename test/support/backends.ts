// Every backend that the tests hold to the contract. Adding one is one line.
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { BUILDS, hasThreads, supportedBuilds } from "../../src/backend/wasm/builds.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";
import { createTestWebGpu, webgpuMissing } from "./webgpu.ts";

export interface BackendUnderTest {
  readonly name: string;
  readonly create: () => Promise<Backend>;
  /** Why this host cannot run it; its tests then show as skipped. */
  readonly unavailable?: string | undefined;
}

/** Every wasm build, the threaded ones with 1, 2 and 3 threads. */
export const wasmBackends: readonly BackendUnderTest[] = BUILDS.flatMap((build) =>
  (hasThreads(build) ? [1, 2, 3] : [1]).map((threads) => ({
    name: `wasm ${build} × ${threads}`,
    create: () => createWasmBackend({ build, threads }),
    unavailable: supportedBuilds().includes(build)
      ? undefined
      : `this host's WebAssembly lacks what the ${build} build needs`,
  })),
);

export const backends: readonly BackendUnderTest[] = [
  { name: "reference", create: async () => createReferenceBackend() },
  ...wasmBackends,
];

/** With the GPU, which a software renderer stands for: correct, but slow, so only some tests use it. */
export const backendsAndGpu: readonly BackendUnderTest[] = [
  ...backends,
  { name: "webgpu", create: createTestWebGpu, unavailable: webgpuMissing },
];
