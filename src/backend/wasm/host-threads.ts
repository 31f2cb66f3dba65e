// How many threads this host offers: its processors, by the web's name for them or Node's.

/** More threads than this rarely help a decoder that is bound by memory. */
const MOST = 8;

export async function hostThreads(): Promise<number> {
  return Math.max(1, Math.min(MOST, await countProcessors()));
}

async function countProcessors(): Promise<number> {
  const { hardwareConcurrency } = globalThis.navigator ?? {};
  if (hardwareConcurrency !== undefined) return hardwareConcurrency;
  try {
    return (await import("node:os")).availableParallelism();
  } catch {
    return 1;
  }
}
