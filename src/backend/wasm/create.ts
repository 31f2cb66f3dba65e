// Creates the wasm backend: chooses a build, makes its memory, starts its threads.
import { TureenError } from "../../errors.ts";
import type { Backend } from "../backend.ts";
import {
  type Build,
  chooseBuild,
  compileBuild,
  hasThreads,
  supportedBuilds,
  type WasmModules,
} from "./builds.ts";
import { instantiateKernels } from "./kernels.ts";
import { ThreadPool } from "./thread-pool.ts";
import { WasmBackend } from "./wasm-backend.ts";

export interface WasmBackendOptions {
  /** Default 1. More need shared memory. */
  readonly threads?: number | undefined;
  /** Default: the best that the host supports for this number of threads. */
  readonly build?: Build | undefined;
  /** Compiled kernels to choose from instead of those in the package. */
  readonly modules?: WasmModules | undefined;
}

/** Threads beyond this are refused: the pool is meant for one machine's cores. */
const MAX_THREADS = 256;

/**
 * @throws TureenError `BACKEND_UNAVAILABLE` if the host cannot run the build or start the threads, `OPTION_INVALID`
 */
export async function createWasmBackend(options: WasmBackendOptions = {}): Promise<Backend> {
  const threads = options.threads ?? 1;
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw new TureenError("OPTION_INVALID", "the number of threads is out of range", {
      expected: `an integer from 1 to ${MAX_THREADS}`,
      found: String(threads),
    });
  }
  const build = options.build ?? chooseBuild(threads > 1, options.modules);
  const supported = supportedBuilds(options.modules);
  if (!supported.includes(build)) {
    throw new TureenError("BACKEND_UNAVAILABLE", `this host cannot run the ${build} build`, {
      expected: `one of ${supported.join(", ") || "none"}`,
    });
  }
  if (threads > 1 && !hasThreads(build)) {
    throw new TureenError("OPTION_INVALID", `the ${build} build has one thread`, {
      found: `threads: ${threads}`,
      hint: `Use build: "${build}-threads".`,
    });
  }
  const module = await compileBuild(build, options.modules);
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 65536, shared: hasThreads(build) });
  const kernels = await instantiateKernels(module, memory);
  return WasmBackend.create(build, threads, kernels, memory, async (control) =>
    threads > 1 ? ThreadPool.start(module, memory, control, threads) : undefined,
  );
}
