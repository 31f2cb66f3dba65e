// The builds of assembly/ (targets of asconfig.json), and which of them this host can run. Capability is probed on tiny
// modules; no host is recognised by name.
import { TureenError } from "../../errors.ts";

export const BUILDS = ["baseline", "relaxed", "baseline-threads", "relaxed-threads"] as const;
export type Build = (typeof BUILDS)[number];

export const hasThreads = (build: Build): boolean => build.endsWith("-threads");

// (module (func (drop (i8x16.splat (i32.const 0)))))
const SIMD = bytes("0061736d01000000010401600000030201000a090107004100fd0f1a0b");
// (module (func (drop (i16x8.relaxed_dot_i8x16_i7x16_s (i8x16.splat (i32.const 0)) (i8x16.splat (i32.const 0))))))
const RELAXED = bytes("0061736d01000000010401600000030201000a10010e004100fd0f4100fd0ffd92021a0b");
// (module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))
const THREADS = bytes("0061736d01000000010401600000030201000504010301010a0b0109004100fe1002001a0b");

/** Builds that this host can run, best last. Empty without SIMD. */
export function supportedBuilds(): Build[] {
  if (!WebAssembly.validate(SIMD)) return [];
  const relaxed = WebAssembly.validate(RELAXED);
  const threads = canShareMemory() && WebAssembly.validate(THREADS);
  return BUILDS.filter(
    (build) => (relaxed || !build.startsWith("relaxed")) && (threads || !hasThreads(build)),
  );
}

/** The best supported build with or without threads. @throws TureenError `BACKEND_UNAVAILABLE` */
export function chooseBuild(threads: boolean): Build {
  const build = supportedBuilds()
    .filter((candidate) => hasThreads(candidate) === threads)
    .at(-1);
  if (build === undefined) {
    throw new TureenError("BACKEND_UNAVAILABLE", "the wasm backend cannot run here", {
      expected: threads ? "WebAssembly SIMD and shared memory" : "WebAssembly SIMD",
      hint: 'Use backend: "reference", or a newer host.',
    });
  }
  return build;
}

/** Compiles a build. */
export async function compileBuild(build: Build): Promise<WebAssembly.Module> {
  const { wasm } = await importBuild(build);
  const binary = atob(wasm);
  return WebAssembly.compile(Uint8Array.from(binary, (char) => char.charCodeAt(0)));
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

/** Browsers without cross-origin isolation have no SharedArrayBuffer, or refuse to share it. */
function canShareMemory(): boolean {
  if (typeof SharedArrayBuffer === "undefined") return false;
  return globalThis.crossOriginIsolated !== false;
}

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) =>
    Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16),
  );
}
