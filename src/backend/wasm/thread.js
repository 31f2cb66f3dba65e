// Entry point of a pool thread: runs command lists on shared memory until told to stop. Plain JavaScript, so that a worker can
// load it from the sources as well as from the build. Hosts: Web Workers, and Node's worker_threads.
// @ts-check

/** Node, Deno and Bun; a Web Worker has none, and speaks through its global scope. */
const port = /** @type {any} */ (
  globalThis.process?.getBuiltinModule?.("node:worker_threads")?.parentPort ?? globalThis
);

/** @param {{ module: WebAssembly.Module, memory: WebAssembly.Memory, control: number, tid: number, threads: number }} job */
function start({ module, memory, control, tid, threads }) {
  const words = new Int32Array(memory.buffer);
  /** @param {number} at @param {number} old */
  const sleep = (at, old) => void Atomics.wait(words, at >>> 2, old);
  const { exports } = new WebAssembly.Instance(module, { env: { memory }, barrier: { sleep } });
  port.postMessage("ready");
  try {
    /** @type {any} */ (exports).work(control, tid, threads);
  } catch (error) {
    // The main thread may be asleep at the barrier: it looks here now and then (kernels.ts).
    Atomics.store(words, (control + 332) >>> 2, 1);
    throw error;
  }
}

if (port === globalThis)
  port.addEventListener("message", (/** @type {any} */ { data }) => start(data));
else port.on("message", start);
