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
    const host = findBuiltin("node:worker_threads");
    const start = async (create: () => PoolWorker): Promise<ThreadPool> => {
      const workers: PoolWorker[] = [];
      try {
        for (let tid = 1; tid < threads; tid++) workers.push(create());
        const job = { module, memory, control, threads };
        await Promise.all(workers.map((worker, i) => worker.start({ ...job, tid: i + 1 })));
      } catch (error) {
        for (const worker of workers) worker.terminate();
        throw error;
      }
      return new ThreadPool(workers);
    };
    try {
      if (host === undefined) return await start(createWebWorker);
      const beside = new URL("./thread.js", import.meta.url);
      return await start(() => createHostWorker(host.Worker, beside)).catch(async () => {
        // A program in one file (`bun build --compile`) has no script beside it.
        const { source } = await import("./generated/thread-source.ts");
        const inside = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
        return start(() => createHostWorker(host.Worker, inside));
      });
    } catch (cause) {
      throw new TureenError(
        "BACKEND_UNAVAILABLE",
        `a pool of ${threads} threads could not be started`,
        { hint: "Use threads: 1." },
        { cause },
      );
    }
  }

  terminate(): void {
    for (const worker of this.#workers) worker.terminate();
  }
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

function createHostWorker(
  HostWorker: typeof import("node:worker_threads").Worker,
  script: URL,
): PoolWorker {
  const worker = new HostWorker(script);
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
