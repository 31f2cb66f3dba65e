// The library through a worker: the page (or the main thread of Node, Deno, Bun) keeps answering while the model computes, and
// in browsers threads become possible. Everything of the public API, asynchronously; no arithmetic, and none of the engine's
// code on this side.
import type { Generation } from "../api/generation.ts";
import type { LoadModelOptions } from "../api/load-model.ts";
import type { MergeAdaptersOptions } from "../api/merge.ts";
import type { SourceKind, SourceKindOptions } from "../api/source-kind.ts";
import { TureenError } from "../errors.ts";
import type { Session } from "../generate/session.ts";
import { findBuiltin } from "../node-builtin.ts";
import type { MergeReport } from "../soup/merge/write-adapter.ts";
import type { Soup } from "../soup/soup.ts";
import type { HubCache } from "../sources/cache/cache.ts";
import type { HubCacheOptions } from "../sources/cache/open-cache.ts";
import type { FileSetInput } from "../sources/open.ts";
import { type Channel, Endpoint } from "./endpoint.ts";
import type { Remote, RemoteGeneration, RemoteModel } from "./remote.ts";

export { type ErrorCode, type ErrorDetails, TureenError } from "../errors.ts";
export { transfer } from "./endpoint.ts";
export type { Local, Remote, RemoteGeneration, RemoteModel } from "./remote.ts";
/** A soup in the worker. */
export type RemoteSoup = Remote<Soup>;
/** A session in the worker. */
export type RemoteSession = Remote<Session>;

/** How to start a worker. */
export interface WorkerOptions {
  /**
   * Where the worker's script lies, if not beside this module: a copy of the package's `dist/browser/worker.js` and its
   * neighbours on your own origin. Default: found by the bundler, or beside this module.
   */
  readonly url?: string | URL | undefined;
}

/** A worker with the engine in it. `terminate` it to free everything at once. */
export interface TureenWorker {
  /**
   * As the library's `loadModel`. Bytes given as the source are copied to the worker; Blobs, URLs and paths are not read
   * here; see `transfer`.
   */
  loadModel(source: FileSetInput, options?: LoadModelOptions): Promise<RemoteModel>;
  /** As the library's `findSourceKind`. */
  findSourceKind(
    source: FileSetInput,
    options?: SourceKindOptions,
  ): Promise<SourceKind | undefined>;
  /** As the library's `mergeAdapters`. */
  mergeAdapters(options: MergeAdaptersOptions): Promise<MergeReport>;
  /** As the library's `openHubCache`: to list, size and evict. */
  openHubCache(options?: HubCacheOptions): Promise<HubCache | undefined>;
  /** Ends the worker; whatever is awaited fails with `DISPOSED`. */
  terminate(): void;
}

/**
 * Starts a worker.
 * @throws TureenError later, from its methods: `BACKEND_FAILED` if the worker cannot be started or has died
 */
export function createTureenWorker(options: WorkerOptions = {}): TureenWorker {
  const { channel, fail, terminate } = startWorker(options.url);
  const endpoint = new Endpoint(channel, { properties: "copied" });
  fail((found) => {
    const hint = "Check that the worker's script can be loaded.";
    endpoint.break(new TureenError("BACKEND_FAILED", "the worker failed", { found, hint }));
  });
  return {
    async loadModel(source, loadOptions = {}) {
      const model = (await endpoint.call(0, "loadModel", [source, loadOptions])) as RemoteModel;
      const generate = model.generate as unknown as (
        ...args: unknown[]
      ) => Promise<Remote<Generation>>;
      const promptly: RemoteModel["generate"] = (...args) => openGeneration(generate(...args));
      return Object.assign(model, { generate: promptly });
    },
    findSourceKind: (source, look = {}) =>
      endpoint.call(0, "findSourceKind", [source, look]) as Promise<SourceKind | undefined>,
    mergeAdapters: (merge) => endpoint.call(0, "mergeAdapters", [merge]) as Promise<MergeReport>,
    openHubCache: (cache = {}) =>
      endpoint.call(0, "openHubCache", [cache]) as Promise<HubCache | undefined>,
    terminate() {
      endpoint.break(new TureenError("DISPOSED", "the worker was terminated"));
      terminate();
    },
  };
}

/** The same three ways to read as a `Generation`, before the worker has answered. */
function openGeneration(opening: Promise<Remote<Generation>>): RemoteGeneration {
  opening.catch(() => {}); // whoever reads sees the error
  return {
    async *[Symbol.asyncIterator]() {
      for await (const { text } of this.chunks()) if (text !== "") yield text;
    },
    async *chunks() {
      yield* await (await opening).chunks();
    },
    result: async () => (await opening).result(),
  };
}

interface StartedWorker {
  readonly channel: Channel;
  /** Calls back with a reason if the worker dies by itself. */
  readonly fail: (report: (reason: string) => void) => void;
  readonly terminate: () => void;
}

function startWorker(url: string | URL | undefined): StartedWorker {
  const host = findBuiltin("node:worker_threads");
  if (host === undefined) return startWebWorker(url);
  const worker = new host.Worker(new URL(url ?? besideThis("worker")));
  worker.unref();
  return {
    channel: {
      post: (message, moved) => worker.postMessage(message, moved as ArrayBuffer[]),
      listen: (receive) => void worker.on("message", receive),
      hold: (waiting) => (waiting ? worker.ref() : worker.unref()),
    },
    fail: (report) => {
      worker.on("error", (error: unknown) => report(String(error)));
      worker.on("exit", (code) => report(`exit code ${code}`));
    },
    terminate: () => void worker.terminate(),
  };
}

/** A module beside this one: as TypeScript, where the sources run unbuilt. */
function besideThis(name: string): URL {
  const own = import.meta.url;
  return new URL(`${name}${own.endsWith(".ts") ? ".ts" : ".js"}`, own);
}

function startWebWorker(url: string | URL | undefined): StartedWorker {
  // Bundlers recognise the worker by exactly this expression. It is the bundled one, since development servers hand out workers
  // as they are, without resolving what they import from other packages.
  const worker =
    url === undefined
      ? new Worker(new URL("../browser/worker.js", import.meta.url), { type: "module" })
      : new Worker(url, { type: "module" });
  return {
    channel: {
      post: (message, moved) => worker.postMessage(message, moved),
      listen: (receive) => {
        worker.onmessage = ({ data }) => receive(data);
      },
    },
    fail: (report) => {
      worker.onerror = ({ message }) => report(message ?? "its script could not be loaded");
    },
    terminate: () => worker.terminate(),
  };
}
