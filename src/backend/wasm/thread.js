// Entry point of a pool thread: runs command lists on shared memory until told to stop. Plain JavaScript, so that a worker can
// load it from the sources as well as from the build. Hosts: Web Workers, and Node's worker_threads.
// @ts-check

const port =
  typeof globalThis.addEventListener === "function" && typeof globalThis.postMessage === "function"
    ? globalThis
    : /** @type {any} */ ((await import("node:worker_threads")).parentPort);

/** @param {{ module: WebAssembly.Module, memory: WebAssembly.Memory, control: number, tid: number, threads: number }} job */
function start({ module, memory, control, tid, threads }) {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  port.postMessage("ready");
  /** @type {any} */ (exports).work(control, tid, threads);
}

if (port === globalThis)
  port.addEventListener("message", (/** @type {any} */ event) => start(event.data));
else port.on("message", start);
