// The exports of assembly/index.ts as TypeScript sees them. Addresses and sizes are in bytes unless a kernel says otherwise.
import { instantiate } from "@assemblyscript/loader";

/** Packs whole tiles; returns the first row with NaN or infinity, or -1. */
type PackWeights = (
  dst: number,
  from: number,
  dtype: number,
  rows: number,
  cols: number,
  scratch: number,
) => number;

export interface Kernels {
  heap_base(): number;
  pack_f32: PackWeights;
  pack_q8: PackWeights;
  pack_q4: PackWeights;
  power(base: number, exponent: number): number;
  fill_rope(table: number, frequencies: number, half: number, length: number): void;
  exp_f32(out: number, x: number, count: number): void;
  submit(list: number, count: number, control: number, threads: number): void;
  stop_workers(control: number): void;
}

/** Bytes of the control block that threads meet in (assembly/barrier.ts). */
export const CONTROL_BYTES = 384;

export async function instantiateKernels(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Promise<Kernels> {
  const { exports } = await instantiate(module, { env: { memory } });
  return exports as unknown as Kernels;
}
