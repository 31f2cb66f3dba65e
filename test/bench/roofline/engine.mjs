// Measures the ceilings (ceilings.ts) on one thread or on several at once, each with a memory of its own.
import { readFile } from "node:fs/promises";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const BYTES = 2 ** 28; // far more than any cache
const MS = 250;

/** What each loop does per turn, in operations: a product and a sum are two. */
export const LOOPS = {
  f32: { name: "f32_multiply_add", turn: 12 * 8 },
  i16: { name: "i16_dot", turn: 6 * 16 },
  i8: { name: "i8_dot", turn: 6 * 32 },
  "i8 widening": { name: "i8_dot_widening", turn: 6 * 32 },
};

export async function start() {
  return { info: { engine: "ceilings" }, run, stop: () => {} };
}

/** @param {{ threads: number }} task @returns {Promise<Record<string, number>>} GB/s of reading, G operations/s of loops */
async function run({ threads }) {
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL(import.meta.url), { workerData: "ceilings" }),
  );
  const ask = (worker, message) =>
    new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.postMessage(message);
    });
  const results = {};
  for (const what of ["ready", "read", ...Object.keys(LOOPS)]) {
    const rates = await Promise.all(workers.map((worker) => ask(worker, what)));
    if (what !== "ready") results[what] = rates.reduce((sum, rate) => sum + rate, 0);
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  return results;
}

if (!isMainThread && workerData === "ceilings") {
  const pages = BYTES / 65536 + 1;
  const memory = new WebAssembly.Memory({ initial: pages });
  new Uint8Array(memory.buffer).fill(1); // else the system maps one page of zeros everywhere
  const binary = await readFile(new URL("../build/ceilings-relaxed.wasm", import.meta.url));
  const { instance } = await WebAssembly.instantiate(binary, { env: { memory } });
  parentPort.on("message", (what) => parentPort.postMessage(measure(instance.exports, what)));
}

function measure(exports, what) {
  if (what === "ready") return 0;
  if (what === "read") return rate(() => exports.read(1024, 2048, BYTES)) * BYTES;
  const { name, turn } = LOOPS[what];
  const turns = 1e6;
  return rate(() => exports[name](1024, turns, 2048)) * turns * turn;
}

/** Calls per nanosecond: the best of several stretches, since this is to be a ceiling. */
function rate(call) {
  call();
  let best = 0;
  for (const start = performance.now(); performance.now() < start + MS; ) {
    const begin = performance.now();
    call();
    best = Math.max(best, 1e-6 / (performance.now() - begin));
  }
  return best;
}
