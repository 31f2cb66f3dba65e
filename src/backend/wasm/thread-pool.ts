// A persistent pool of workers that run the same command lists as the main thread. After the start no message passes: threads
// meet in shared memory (assembly/barrier.ts).
import { TureenError } from "../../errors.ts";
import { findBuiltin } from "../../node-builtin.ts";

/** A worker as both hosts offer it, reduced to what the pool needs. */
interface PoolWorker {
  start(job: unknown): Promise<void>;
  terminate(): void;
}

export class ThreadPool {
  readonly #workers: readonly PoolWorker[];

  private constructor(workers: readonly PoolWorker[]) {
    this.#workers = workers;
  }

  /** Starts threads 1..threads-1 on the module and memory, and waits until each is ready. */
  static async start(
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    control: number,
    threads: number,
  ): Promise<ThreadPool> {
    const workers: PoolWorker[] = [];
    try {
      for (let tid = 1; tid < threads; tid++) workers.push(createWorker());
      await Promise.all(
        workers.map((worker, i) => worker.start({ module, memory, control, tid: i + 1, threads })),
      );
    } catch (cause) {
      for (const worker of workers) worker.terminate();
      throw new TureenError(
        "BACKEND_UNAVAILABLE",
        `a pool of ${threads} threads could not be started`,
        { hint: "Use threads: 1." },
        { cause },
      );
    }
    return new ThreadPool(workers);
  }

  terminate(): void {
    for (const worker of this.#workers) worker.terminate();
  }
}

function createWorker(): PoolWorker {
  const host = findBuiltin("node:worker_threads");
  return host === undefined ? createWebWorker() : createHostWorker(host.Worker);
}

function createWebWorker(): PoolWorker {
  // Bundlers recognise the worker by exactly this expression.
  const worker = new Worker(new URL("./thread.js", import.meta.url), { type: "module" });
  return {
    start: (job) =>
      new Promise((resolve, reject) => {
        worker.onmessage = () => resolve();
        worker.onerror = (event) => reject(new Error(event.message));
        worker.postMessage(job);
      }),
    terminate: () => worker.terminate(),
  };
}

function createHostWorker(HostWorker: typeof import("node:worker_threads").Worker): PoolWorker {
  const worker = new HostWorker(new URL("./thread.js", import.meta.url));
  return {
    start: (job) =>
      new Promise((resolve, reject) => {
        worker.once("message", () => {
          // A waiting pool must not keep the process alive.
          worker.unref();
          resolve();
        });
        worker.once("error", reject);
        worker.postMessage(job);
      }),
    terminate: () => void worker.terminate(),
  };
}
