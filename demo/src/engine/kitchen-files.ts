// The kitchen's files: fetched once with progress, kept in the browser until they change.
import { files, version } from "virtual:kitchen";

const PREFIX = "tureen-kitchen-";
const CACHE = `${PREFIX}${version}`;

export interface FileProgress {
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** All of the kitchen, by path. */
export type KitchenFiles = ReadonlyMap<string, Blob>;

/** @throws Error that names a file which is neither kept nor to be had */
export async function fetchKitchen(
  onProgress: (progress: FileProgress) => void,
): Promise<KitchenFiles> {
  const cache = await openCache();
  const bytesTotal = files.reduce((sum, { nBytes }) => sum + nBytes, 0);
  let bytesDone = 0;
  const count = (nBytes: number): void => {
    bytesDone += nBytes;
    onProgress({ bytesDone, bytesTotal });
  };
  const fetched = await Promise.all(
    files.map(async ({ path, nBytes }) => {
      const url = new URL(`kitchen/${path}`, document.baseURI).href;
      const kept = await cache?.match(url).catch(() => undefined);
      if (kept !== undefined) {
        const blob = await kept.blob();
        count(nBytes);
        return [path, blob] as const;
      }
      const blob = await download(url, count);
      // A full disk costs the next visit a download, nothing more.
      await cache?.put(url, new Response(blob)).catch(() => undefined);
      return [path, blob] as const;
    }),
  );
  return new Map(fetched);
}

/** The files of one folder by name, as the library takes them. */
export function folder(kitchen: KitchenFiles, path: string): Record<string, Blob> {
  const inside = [...kitchen].filter(([name]) => name.startsWith(`${path}/`));
  return Object.fromEntries(inside.map(([name, blob]) => [name.slice(path.length + 1), blob]));
}

async function openCache(): Promise<Cache | undefined> {
  if (!("caches" in globalThis)) return undefined; // insecure pages have none
  try {
    for (const name of await caches.keys()) {
      if (name.startsWith(PREFIX) && name !== CACHE) await caches.delete(name);
    }
    return await caches.open(CACHE);
  } catch {
    return undefined; // private windows may refuse
  }
}

/** @throws Error that names the file */
async function download(url: string, count: (nBytes: number) => void): Promise<Blob> {
  try {
    const response = await fetch(url);
    if (!response.ok || response.body === null) {
      throw new Error(`the server answered with status ${response.status}`);
    }
    const pieces: BlobPart[] = [];
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return new Blob(pieces);
      pieces.push(value);
      count(value.byteLength);
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${url} could not be fetched: ${reason}.`, { cause });
  }
}
