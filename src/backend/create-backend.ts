// Chooses a backend, in one place. Implementations are imported only when they are chosen.
import { TureenError } from "../errors.ts";
import type { Backend } from "./backend.ts";
import type { Build, WasmModules } from "./wasm/builds.ts";

export interface BackendOptions {
  /**
   * `auto`: WebGPU where there is a real GPU (not a software renderer), else wasm, else reference. Threads, build or modules of
   * the wasm backend ask for that. Default `auto`.
   */
  readonly backend?: "auto" | "webgpu" | "wasm" | "reference" | undefined;
  /** Threads of the wasm backend. Default: the host's processors, at most 8; 1 without shared memory. */
  readonly threads?: number | undefined;
  /** Which wasm build to run. Default: the best that the host supports. */
  readonly build?: Build | undefined;
  /** Where a GPU is lost while it works, go on on wasm. Needs memory for adapters once more. Default false. */
  readonly fallback?: boolean | undefined;
  /** Compiled kernels, for hosts that refuse to compile bytes. */
  readonly wasm?: WasmModules | undefined;
}

export interface ChosenBackend {
  readonly backend: Backend;
  /** Why this one, for people. */
  readonly reason: string;
}

/** @throws TureenError `OPTION_INVALID`, `BACKEND_UNAVAILABLE` */
export async function chooseBackend(options: BackendOptions = {}): Promise<ChosenBackend> {
  const chosen = await choose(options);
  if (options.fallback !== true || chosen.backend.name !== "webgpu") return chosen;
  const { FallbackBackend } = await import("./fallback-backend.ts");
  const backend = new FallbackBackend(chosen.backend, () => createWasm(options));
  return { backend, reason: chosen.reason };
}

async function choose(options: BackendOptions): Promise<ChosenBackend> {
  if (options.backend !== undefined && options.backend !== "auto") {
    return { backend: await createBackend(options), reason: "it was asked for" };
  }
  const { threads, build, wasm } = options;
  let why = "options of the wasm backend were given";
  if (threads === undefined && build === undefined && wasm === undefined) {
    const { describeGpu } = await import("./webgpu/device.ts");
    const gpu = await describeGpu();
    if ("name" in gpu) {
      try {
        const { createWebGpuBackend } = await import("./webgpu/create.ts");
        const backend = await createWebGpuBackend();
        return { backend, reason: `there is a GPU: ${gpu.name}` };
      } catch (error) {
        if (!(error instanceof TureenError)) throw error;
        why = error.message;
      }
    } else why = `no GPU: ${gpu.why}`;
  }
  const { supportedBuilds } = await import("./wasm/builds.ts");
  if (supportedBuilds(wasm).length > 0) return { backend: await createWasm(options), reason: why };
  const reason = `${why}; this host's WebAssembly lacks SIMD`;
  return { backend: await createReference(), reason };
}

/** @throws TureenError `OPTION_INVALID`, `BACKEND_UNAVAILABLE` */
export async function createBackend(options: BackendOptions = {}): Promise<Backend> {
  const { backend = "auto" } = options;
  switch (backend) {
    case "reference":
      return createReference();
    case "wasm":
      return createWasm(options);
    case "webgpu":
      return (await import("./webgpu/create.ts")).createWebGpuBackend();
    case "auto":
      return (await chooseBackend(options)).backend;
    default:
      throw new TureenError("OPTION_INVALID", "unknown backend", {
        expected: "auto, webgpu, wasm or reference",
        found: String(backend satisfies never),
      });
  }
}

async function createReference(): Promise<Backend> {
  return (await import("./reference/create.ts")).createReferenceBackend();
}

async function createWasm({ threads, build, wasm: modules }: BackendOptions): Promise<Backend> {
  const { createWasmBackend } = await import("./wasm/create.ts");
  if (threads !== undefined) return createWasmBackend({ threads, build, modules });
  const { hasThreads, supportedBuilds } = await import("./wasm/builds.ts");
  const { hostThreads } = await import("./wasm/host-threads.ts");
  const supported = supportedBuilds(modules);
  const threaded = build === undefined ? supported.some(hasThreads) : hasThreads(build);
  const wanted = threaded ? hostThreads() : 1;
  try {
    return await createWasmBackend({ threads: wanted, build, modules });
  } catch (error) {
    // Nobody asked for threads by number: where a pool does not start (a bundle without its worker), one thread will do.
    const refused = error instanceof TureenError && error.code === "BACKEND_UNAVAILABLE";
    if (!refused || wanted === 1) throw error;
    return createWasmBackend({ threads: 1, build, modules });
  }
}
