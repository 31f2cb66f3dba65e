// Chooses a backend, in one place. Implementations are imported only when they are chosen.
import { TureenError } from "../errors.ts";
import type { Backend } from "./backend.ts";
import type { Build } from "./wasm/builds.ts";

export interface BackendOptions {
  /** `auto`: wasm where it can run, else reference. Default `auto`. */
  readonly backend?: "auto" | "wasm" | "reference" | undefined;
  /** Threads of the wasm backend. Default: the host's processors, at most 8; 1 without shared memory. */
  readonly threads?: number | undefined;
  /** Which wasm build to run. Default: the best that the host supports. */
  readonly build?: Build | undefined;
}

/** @throws TureenError `OPTION_INVALID`, `BACKEND_UNAVAILABLE` */
export async function createBackend(options: BackendOptions = {}): Promise<Backend> {
  const { backend = "auto", threads, build } = options;
  switch (backend) {
    case "reference":
      return createReference();
    case "wasm":
      return createWasm(threads, build);
    case "auto": {
      const { supportedBuilds } = await import("./wasm/builds.ts");
      return supportedBuilds().length > 0 ? createWasm(threads, build) : createReference();
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

async function createWasm(threads: number | undefined, build: Build | undefined): Promise<Backend> {
  const { createWasmBackend } = await import("./wasm/create.ts");
  if (threads !== undefined) return createWasmBackend({ threads, build });
  const { hasThreads, supportedBuilds } = await import("./wasm/builds.ts");
  const { hostThreads } = await import("./wasm/host-threads.ts");
  const threaded = build === undefined ? supportedBuilds().some(hasThreads) : hasThreads(build);
  return createWasmBackend({ threads: threaded ? await hostThreads() : 1, build });
}
