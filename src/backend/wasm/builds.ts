// The builds of assembly/ (targets of asconfig.json), and which of them this host can run. Capability is probed on tiny
// modules; no host is recognised by name.
import { TureenError } from "../../errors.ts";
import { VERSION } from "../../version.ts";

export const BUILDS = ["baseline", "relaxed", "baseline-threads", "relaxed-threads"] as const;
export type Build = (typeof BUILDS)[number];

export const hasThreads = (build: Build): boolean => build.endsWith("-threads");

// (module (func (drop (i8x16.splat (i32.const 0)))))
const SIMD = bytes("0061736d01000000010401600000030201000a090107004100fd0f1a0b");
// (module (func (drop (i16x8.relaxed_dot_i8x16_i7x16_s (i8x16.splat (i32.const 0)) (i8x16.splat (i32.const 0))))))
const RELAXED = bytes("0061736d01000000010401600000030201000a10010e004100fd0f4100fd0ffd92021a0b");
// (module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))
const THREADS = bytes("0061736d01000000010401600000030201000504010301010a0b0109004100fe1002001a0b");

/**
 * Kernels that the caller compiled: one module or several, the package's `tureen/wasm/*.wasm`. For hosts that refuse to compile
 * bytes, such as edge workers.
 */
export type WasmModules = WebAssembly.Module | readonly WebAssembly.Module[];

/** Builds that this host can run, best last; of the given modules, if any are given. Empty without SIMD. */
export function supportedBuilds(modules?: WasmModules): Build[] {
  if (!WebAssembly.validate(SIMD)) return [];
  const relaxed = WebAssembly.validate(RELAXED);
  const threads = canShareMemory() && WebAssembly.validate(THREADS);
  const given = modules === undefined ? undefined : nameModules(modules);
  return BUILDS.filter(
    (build) =>
      (given?.has(build) ?? true) &&
      (relaxed || !build.startsWith("relaxed")) &&
      (threads || !hasThreads(build)),
  );
}

/** The best supported build with or without threads. @throws TureenError `BACKEND_UNAVAILABLE` */
export function chooseBuild(threads: boolean, modules?: WasmModules): Build {
  const build = supportedBuilds(modules)
    .filter((candidate) => hasThreads(candidate) === threads)
    .at(-1);
  if (build === undefined) {
    throw new TureenError("BACKEND_UNAVAILABLE", "the wasm backend cannot run here", {
      expected: threads ? "WebAssembly SIMD, shared memory and waiting" : "WebAssembly SIMD",
      ...(modules === undefined ? {} : { found: [...nameModules(modules).keys()].join(", ") }),
      hint: threads
        ? "Use threads: 1; in a browser, a cross-origin isolated page and a worker."
        : 'Use backend: "reference", or a newer host.',
    });
  }
  return build;
}

/** The given modules by the build that each says it is. @throws TureenError `OPTION_INVALID` */
function nameModules(modules: WasmModules): Map<Build, WebAssembly.Module> {
  const list = modules instanceof WebAssembly.Module ? [modules] : modules;
  const named = new Map<Build, WebAssembly.Module>();
  for (const module of Array.isArray(list) ? list : [list]) {
    const mark =
      module instanceof WebAssembly.Module
        ? WebAssembly.Module.customSections(module, "tureen.build")[0]
        : undefined;
    const found = mark === undefined ? "something else" : new TextDecoder().decode(mark);
    const build = BUILDS.find((name) => found === `${name} ${VERSION}`);
    if (build === undefined) {
      throw new TureenError("OPTION_INVALID", "option wasm is not usable", {
        expected: `compiled modules of tureen ${VERSION}: tureen/wasm/*.wasm`,
        found,
      });
    }
    named.set(build, module);
  }
  return named;
}

/** Compiles a build, or finds it among the given modules. */
export async function compileBuild(
  build: Build,
  modules?: WasmModules,
): Promise<WebAssembly.Module> {
  const given = modules === undefined ? undefined : nameModules(modules).get(build);
  if (given !== undefined) return given;
  const binary = await inflate((await importBuild(build)).wasm);
  try {
    return await WebAssembly.compile(binary);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const hint =
      "On a page, allow 'wasm-unsafe-eval' in the content security policy; on an edge host, import " +
      "tureen/wasm/*.wasm as modules and pass them as option wasm.";
    const details = { expected: "leave to compile WebAssembly", found, hint };
    throw new TureenError("BACKEND_UNAVAILABLE", "wasm cannot be compiled", details, { cause });
  }
}

/** Deflated before it is written in base64, which compresses badly: a third less to download. */
function inflate(base64: string): Promise<ArrayBuffer> {
  const deflated = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function importBuild(build: Build): Promise<{ wasm: string }> {
  switch (build) {
    case "baseline":
      return import("./generated/baseline.ts");
    case "relaxed":
      return import("./generated/relaxed.ts");
    case "baseline-threads":
      return import("./generated/baseline-threads.ts");
    case "relaxed-threads":
      return import("./generated/relaxed-threads.ts");
    default:
      throw new Error(`unknown build ${build satisfies never}`);
  }
}

/**
 * Browsers without cross-origin isolation have no SharedArrayBuffer, or refuse to share it; a page's main thread and edge
 * workers may not wait.
 */
function canShareMemory(): boolean {
  if (typeof SharedArrayBuffer === "undefined") return false;
  const { crossOriginIsolated } = globalThis as { readonly crossOriginIsolated?: boolean };
  if (crossOriginIsolated === false) return false;
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1, 0);
    return true;
  } catch {
    return false;
  }
}

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) =>
    Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  );
}
