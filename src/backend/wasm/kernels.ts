// The exports of assembly/index.ts as TypeScript sees them. Addresses and sizes are in bytes unless a kernel says otherwise.
import { instantiate } from "@assemblyscript/loader";

export interface Kernels {
  heap_base(): number;
  power(base: number, exponent: number): number;
  fill_rope(table: number, frequencies: number, half: number, length: number): void;
  exp_f32(out: number, x: number, count: number): void;
  submit(list: number, count: number, control: number, threads: number): void;
  stop_workers(control: number): void;
}

/** Bytes of the control block that threads meet in (assembly/barrier.ts). */
export const CONTROL_BYTES = 384;

/** Where a thread that failed leaves a mark in it, and how often a sleeping main thread looks. */
const FAILED = 332;
const PATIENCE_MS = 200;

export async function instantiateKernels(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Promise<Kernels> {
  // The control block lies low in memory, so a view from before the memory grew still covers it.
  const words = new Int32Array(memory.buffer);
  const sleep = (at: number, old: number) => {
    // The main thread sleeps on the generation only, at 192 of the control block.
    const failed = (at - 192 + FAILED) >>> 2;
    while (Atomics.wait(words, at >>> 2, old, PATIENCE_MS) === "timed-out") {
      if (Atomics.load(words, failed) !== 0) throw new Error("a thread of the pool failed");
    }
  };
  const { exports } = await instantiate(module, { env: { memory }, barrier: { sleep } });
  return exports as unknown as Kernels;
}
