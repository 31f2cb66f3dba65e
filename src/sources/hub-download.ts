// Brings one file's content from a hub into a cache: several ranges at once, written in order, so that what is kept is always
// the file's beginning and the hash runs along. A download that was cut off goes on from there.
import { TureenError, throwIfAborted } from "../errors.ts";
import type { OnArrival } from "./arriving.ts";
import type { HubCache, PartialBlob, StreamingHash } from "./cache/cache.ts";
import type { HubClient } from "./hub-client.ts";
import type { HubFile } from "./hub-refusal.ts";
import { untilAborted } from "./until-aborted.ts";

/** Bytes per request. What is held in memory is this times the requests at once. */
const RANGE_BYTES = 4 * 1024 * 1024;

export interface Download {
  readonly client: HubClient;
  readonly cache: HubCache;
  readonly file: HubFile;
  readonly etag: string;
  readonly nBytes: number;
  /** Requests at once. */
  readonly parallel: number;
  readonly rangeBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told of bytes that are there: with `isResumed` those of an earlier attempt. */
  readonly onBytes: (nBytes: number, isResumed: boolean) => void;
  /** Shows what has arrived before it is checked, unless an earlier attempt began the file: that part may be damaged. */
  readonly onArrival?: OnArrival | undefined;
  /** After its first range the download waits for this: of several files, all headers come first. */
  readonly turn?: Promise<unknown> | undefined;
}

/**
 * Makes the content a blob of the cache.
 * @throws TureenError `SOURCE_READ_FAILED` (network, refusal, or another hash twice), `SOURCE_WRITE_FAILED`, `ABORTED`
 */
export async function downloadBlob(download: Download): Promise<void> {
  const { cache, file, etag, nBytes, signal } = download;
  const partial = await cache.openPartial(file.repo, etag, nBytes, { signal });
  if (partial === undefined) return;
  try {
    if (partial.nBytes > nBytes) await partial.reset();
    const resumed = partial.nBytes;
    const found = await fill(download, partial);
    if (found !== undefined) {
      await download.onArrival?.(undefined);
      await partial.reset();
      download.onBytes(-nBytes, true);
      // What an earlier attempt left may have been damaged; what came now, in one go, was not.
      const again = resumed > 0 ? await fill(download, partial) : found;
      if (again !== undefined) {
        await partial.reset();
        throw wrongHash(download, again);
      }
    }
    await download.onArrival?.(undefined);
    await partial.finish();
  } finally {
    await download.onArrival?.(undefined);
    await partial.release();
  }
}

/** @returns the hash of the content if it is not the one that was promised */
async function fill(download: Download, partial: PartialBlob): Promise<string | undefined> {
  const { etag, nBytes, onBytes, signal } = download;
  const hash = await startHash(download);
  const onArrival = partial.nBytes === 0 ? download.onArrival : undefined;
  onBytes(partial.nBytes, true);
  for (let offset = 0; offset < partial.nBytes; offset += RANGE_BYTES) {
    throwIfAborted(signal);
    hash?.update(await partial.read(offset, Math.min(RANGE_BYTES, partial.nBytes - offset)));
  }
  for await (const bytes of readOrdered(download, partial.nBytes)) {
    hash?.update(bytes);
    await partial.append(bytes);
    await onArrival?.(partial);
  }
  if (partial.nBytes !== nBytes) return `${partial.nBytes} bytes`;
  const digest = await hash?.digest();
  return digest === undefined || digest === etag ? undefined : digest;
}

/** The Hub names large files by SHA-256, others as git does. Other servers' marks tell nothing about the content. */
async function startHash({ cache, etag, nBytes }: Download): Promise<StreamingHash | undefined> {
  const algorithm = hashOf(etag);
  if (algorithm === undefined) return undefined;
  const hash = await cache.createHash(algorithm);
  if (algorithm === "sha1") hash.update(new TextEncoder().encode(`blob ${nBytes}\0`));
  return hash;
}

/** Which hash an etag is, if any. */
export function hashOf(etag: string): "sha1" | "sha256" | undefined {
  if (/^[0-9a-f]{64}$/.test(etag)) return "sha256";
  return /^[0-9a-f]{40}$/.test(etag) ? "sha1" : undefined;
}

/** The file from `start`, in order, a few requests ahead of the reader. */
async function* readOrdered(download: Download, start: number): AsyncGenerator<Uint8Array> {
  const { client, file, nBytes, parallel, onBytes, turn, rangeBytes = RANGE_BYTES } = download;
  const stop = new AbortController();
  const signals = download.signal === undefined ? [] : [download.signal];
  const signal = AbortSignal.any([stop.signal, ...signals]);
  const pending: Promise<Uint8Array>[] = [];
  let next = start;
  const request = (): Promise<Uint8Array> => {
    const range = { offset: next, nBytes: Math.min(rangeBytes, nBytes - next), total: nBytes };
    next += range.nBytes;
    const answer = client.read(file, range, { signal, onBytes: (n) => onBytes(n, false) });
    answer.catch(() => {}); // seen when its turn comes
    return answer;
  };
  try {
    if (turn !== undefined && next < nBytes) {
      yield await request();
      await untilAborted(turn, signal);
    }
    while (next < nBytes || pending.length > 0) {
      while (pending.length < parallel && next < nBytes) {
        pending.push(request());
      }
      yield await pending.shift()!;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(pending);
  }
}

function wrongHash({ client, file, etag }: Download, found: string): TureenError {
  return new TureenError("SOURCE_READ_FAILED", "the content is not what the hub promised", {
    expected: `${hashOf(etag)} ${etag}`,
    found,
    where: client.describe(file),
    hint: "Something between the hub and here changed it. Nothing of it was kept; try again.",
  });
}
