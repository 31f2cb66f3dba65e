// How many threads this host offers: its processors, by the web's name for them or Node's.
import { findBuiltin } from "../../node-builtin.ts";

/** More threads than this rarely help a decoder that is bound by memory. */
const MOST = 8;

export function hostThreads(): number {
  const { hardwareConcurrency } = globalThis.navigator ?? {};
  const processors = hardwareConcurrency ?? findBuiltin("node:os")?.availableParallelism?.() ?? 1;
  return Math.max(1, Math.min(MOST, processors));
}
