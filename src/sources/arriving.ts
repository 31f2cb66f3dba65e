// A file that is read while it arrives: a read waits until the download has come as far. Knows nothing of networks and caches.
import { createByteSource } from "./byte-source.ts";
import type { PartialBlob } from "./cache/cache.ts";
import type { ByteSource } from "./source.ts";
import { untilAborted } from "./until-aborted.ts";

/**
 * Told by a download whenever more has arrived; with `undefined` before what has arrived changes its place, which must wait
 * for reads under way.
 */
export type OnArrival = (partial: PartialBlob | undefined) => Promise<void>;

/**
 * Starts a download and lets its beginning be read meanwhile. `settle` waits for its end; `close` ends it.
 * @param start gives the complete and checked file
 */
export function openArriving(
  name: string,
  size: number,
  start: (onArrival: OnArrival, signal: AbortSignal) => Promise<ByteSource>,
  signal?: AbortSignal,
): ByteSource {
  const stop = new AbortController();
  const signals = signal === undefined ? [] : [signal];
  const reads = new Set<Promise<unknown>>();
  const waiting = new Set<() => void>();
  let partial: PartialBlob | undefined;
  let complete: ByteSource | undefined;
  const wake = (): void => {
    for (const resume of waiting) resume();
    waiting.clear();
  };
  const onArrival: OnArrival = async (now) => {
    partial = now;
    if (now === undefined) await Promise.allSettled(reads);
    else wake();
  };
  const done = start(onArrival, AbortSignal.any([stop.signal, ...signals])).then((source) => {
    complete = source;
    return source;
  });
  done.then(wake, wake);

  return createByteSource(name, size, {
    async read(offset, nBytes, signal) {
      const end = offset + nBytes;
      while (complete === undefined) {
        if (partial !== undefined && partial.nBytes >= end) {
          const read = partial.read(offset, nBytes);
          reads.add(read);
          return read.finally(() => reads.delete(read));
        }
        const more = new Promise<void>((resume) => waiting.add(resume));
        await untilAborted(Promise.race([more, done]), signal);
      }
      return complete.read(offset, nBytes, { signal });
    },
    async settle() {
      await done;
    },
    async close() {
      stop.abort();
      await done.then(
        (source) => source.close(),
        () => {},
      );
    },
  });
}
