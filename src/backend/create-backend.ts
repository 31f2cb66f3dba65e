// Chooses a backend, in one place. Implementations are imported only when they are chosen.
import { TureenError } from "../errors.ts";
import type { Backend } from "./backend.ts";
import type { Build, WasmModules } from "./wasm/builds.ts";

export interface BackendOptions {
  /** `auto`: wasm where it can run, else reference. Default `auto`. */
  readonly backend?: "auto" | "wasm" | "reference" | undefined;
  /** Threads of the wasm backend. Default: the host's processors, at most 8; 1 without shared memory. */
  readonly threads?: number | undefined;
  /** Which wasm build to run. Default: the best that the host supports. */
  readonly build?: Build | undefined;
  /** Compiled kernels, for hosts that refuse to compile bytes. */
  readonly wasm?: WasmModules | undefined;
}

/** @throws TureenError `OPTION_INVALID`, `BACKEND_UNAVAILABLE` */
export async function createBackend(options: BackendOptions = {}): Promise<Backend> {
  const { backend = "auto", wasm } = options;
  switch (backend) {
    case "reference":
      return createReference();
    case "wasm":
      return createWasm(options);
    case "auto": {
      const { supportedBuilds } = await import("./wasm/builds.ts");
      return supportedBuilds(wasm).length > 0 ? createWasm(options) : createReference();
    }
    default:
      throw new TureenError("OPTION_INVALID", "unknown backend", {
        expected: "auto, wasm or reference",
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
