// Browsers' storage as named pieces of bytes: the origin private file system, or the Cache API where that is missing. Written
// against the few calls that are used, so that tests can stand in for the browser.
import type { KeyStore, LockManager } from "./key-store.ts";

/** What is used of `FileSystemDirectoryHandle`. */
export interface DirectoryHandle {
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<DirectoryHandle>;
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FileHandle>;
  removeEntry(name: string, options?: { recursive?: boolean }): Promise<void>;
  entries(): AsyncIterable<[string, DirectoryHandle | FileHandle]>;
  readonly kind: "directory";
}

/** What is used of `FileSystemFileHandle`. */
export interface FileHandle {
  readonly kind: "file";
  getFile(): Promise<Blob>;
  /** Writes beside the file, which changes when the stream is closed. Not in Safari before 26. */
  createWritable?(): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    close(): Promise<void>;
    abort?(): Promise<void>;
  }>;
  /** In workers only. */
  createSyncAccessHandle?(): Promise<{
    write(bytes: Uint8Array, options: { at: number }): number;
    truncate(size: number): void;
    flush(): void;
    close(): void;
  }>;
}

/** Pieces as files below a folder of the origin private file system. Names are escaped, so any name is a file name. */
export function createFileStore(root: DirectoryHandle): KeyStore {
  const folderOf = async (
    segments: readonly string[],
    create: boolean,
  ): Promise<DirectoryHandle | undefined> => {
    let folder = root;
    for (const segment of segments) {
      try {
        folder = await folder.getDirectoryHandle(segment, { create });
      } catch (error) {
        if (isAbsence(error)) return undefined;
        throw error;
      }
    }
    return folder;
  };
  const split = (key: string): [string[], string] => {
    const segments = key.split("/").map(escapeName);
    return [segments.slice(0, -1), segments.at(-1)!];
  };
  return {
    name: "origin private file system",
    async get(key) {
      const [folders, name] = split(key);
      try {
        const folder = await folderOf(folders, false);
        return await (await folder?.getFileHandle(name))?.getFile();
      } catch (error) {
        if (isAbsence(error)) return undefined;
        throw error;
      }
    },
    async put(key, bytes) {
      const [folders, name] = split(key);
      const folder = (await folderOf(folders, true))!;
      const file = await folder.getFileHandle(name, { create: true });
      try {
        await writeFile(file, bytes);
      } catch (error) {
        await folder.removeEntry(name).catch(() => {});
        throw error;
      }
    },
    async delete(key) {
      const [folders, name] = split(key);
      const folder = await folderOf(folders, false);
      await folder?.removeEntry(name).catch((error: unknown) => {
        if (!isAbsence(error)) throw error;
      });
    },
    async keys(prefix) {
      const at = prefix.lastIndexOf("/");
      const segments = at < 0 ? [] : prefix.slice(0, at).split("/");
      const folder = await folderOf(segments.map(escapeName), false);
      const found: string[] = [];
      if (folder !== undefined) await collectKeys(folder, segments, found);
      return found.filter((key) => key.startsWith(prefix));
    },
  };
}

async function collectKeys(
  folder: DirectoryHandle,
  path: readonly string[],
  found: string[],
): Promise<void> {
  for await (const [name, handle] of folder.entries()) {
    const inner = [...path, decodeURIComponent(name)];
    if (handle.kind === "directory") await collectKeys(handle, inner, found);
    else found.push(inner.join("/"));
  }
}

async function writeFile(file: FileHandle, bytes: Uint8Array): Promise<void> {
  if (file.createWritable !== undefined) {
    const stream = await file.createWritable();
    try {
      await stream.write(bytes as Uint8Array<ArrayBuffer>);
      await stream.close();
    } catch (error) {
      await stream.abort?.().catch(() => {});
      throw error;
    }
    return;
  }
  if (file.createSyncAccessHandle === undefined) {
    throw new Error("files can only be written in a worker here");
  }
  const access = await file.createSyncAccessHandle();
  try {
    access.truncate(0);
    const written = access.write(bytes, { at: 0 });
    if (written !== bytes.length)
      throw quotaExceeded(`${written} of ${bytes.length} bytes written`);
    access.flush();
  } finally {
    access.close();
  }
}

/** A tab that dies while it writes in place leaves a short piece; readers compare sizes. */
function quotaExceeded(message: string): Error {
  const error = new Error(message);
  error.name = "QuotaExceededError";
  return error;
}

/** `%` and what file systems treat specially. */
function escapeName(name: string): string {
  return encodeURIComponent(name)
    .replace(/\*/g, "%2A")
    .replace(/^\.+$/, (dots) => dots.replaceAll(".", "%2E"));
}

function isAbsence(error: unknown): boolean {
  const name = (error as { name?: unknown } | undefined)?.name;
  return name === "NotFoundError" || name === "TypeMismatchError";
}

/** What is used of the Cache API's `Cache`. */
export interface ResponseCache {
  match(url: string): Promise<Response | undefined>;
  put(url: string, response: Response): Promise<void>;
  delete(url: string): Promise<boolean>;
  keys(): Promise<readonly { readonly url: string }[]>;
}

/** Addresses that no request is ever sent to. */
const ORIGIN = "https://tureen.invalid/";

/** Pieces as stored responses. */
export function createResponseStore(cache: ResponseCache): KeyStore {
  const urlOf = (key: string): string => ORIGIN + key.split("/").map(encodeURIComponent).join("/");
  return {
    name: "cache storage",
    get: async (key) => (await cache.match(urlOf(key)))?.blob(),
    put: (key, bytes) => cache.put(urlOf(key), new Response(bytes as Uint8Array<ArrayBuffer>)),
    delete: async (key) => void (await cache.delete(urlOf(key))),
    async keys(prefix) {
      const urls = (await cache.keys()).map(({ url }) => url);
      const keys = urls
        .filter((url) => url.startsWith(ORIGIN))
        .map((url) => url.slice(ORIGIN.length).split("/").map(decodeURIComponent).join("/"));
      return keys.filter((key) => key.startsWith(prefix));
    },
  };
}

/** What is used of `navigator.locks`. */
export interface WebLocks {
  request(
    name: string,
    options: { signal?: AbortSignal },
    hold: () => Promise<void>,
  ): Promise<unknown>;
}

/** Locks over all tabs and workers of an origin. A tab that is closed lets go of its own. */
export function createWebLocks(locks: WebLocks): LockManager {
  return {
    acquire: (name, signal) =>
      new Promise((resolve, reject) => {
        const hold = (): Promise<void> => new Promise((release) => resolve(release));
        locks.request(name, signal === undefined ? {} : { signal }, hold).catch(reject);
      }),
  };
}

/** Locks within this one page or worker, where the host has no others. */
export function createLocalLocks(): LockManager {
  const tails = new Map<string, Promise<void>>();
  return {
    async acquire(name, signal) {
      const before = tails.get(name) ?? Promise.resolve();
      let release = (): void => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      const tail = before.then(() => held);
      tails.set(name, tail);
      void tail.then(() => {
        if (tails.get(name) === tail) tails.delete(name);
      });
      const aborted = new Promise<never>((_, reject) => {
        signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      });
      try {
        await Promise.race([before, aborted]);
      } catch (error) {
        release();
        throw error;
      }
      return release;
    },
  };
}
