// Finds the cache that this host's users expect: Python's folder where there is a file system, else the browser's storage.
// Capabilities are probed; a store counts once something could be written to it and read back.
import { TureenError } from "../../errors.ts";
import { findBuiltin } from "../../node-builtin.ts";
import { readHubEnvironment } from "../hub-environment.ts";
import {
  createFileStore,
  createLocalLocks,
  createResponseStore,
  createWebLocks,
  type DirectoryHandle,
  type ResponseCache,
  type WebLocks,
} from "./browser-stores.ts";
import type { HubCache } from "./cache.ts";
import { createDirectoryCache } from "./directory-cache.ts";
import { createDiskStore } from "./disk-store.ts";
import type { KeyStore } from "./key-store.ts";
import { createPartsCache } from "./parts-cache.ts";

/** Where to look for a cache. */
export interface HubCacheOptions {
  /** On a disk. Default: `HF_HUB_CACHE`, `HF_HOME`/hub, ~/.cache/huggingface/hub. */
  readonly cacheDir?: string | undefined;
}

/** Storage as a browser offers it. */
interface BrowserGlobals {
  readonly navigator?: {
    readonly storage?: {
      getDirectory?(): Promise<DirectoryHandle>;
      estimate?(): Promise<{ quota?: number; usage?: number }>;
    };
    readonly locks?: WebLocks;
  };
  readonly caches?: { open(name: string): Promise<ResponseCache> };
}

/**
 * Opens the cache of models, to list, size and evict, or to pass as `hub.cache`.
 * @returns `undefined` if this host can keep nothing
 * @throws TureenError `OPTION_INVALID` for a `cacheDir` where there is no file system
 */
export async function openHubCache(options: HubCacheOptions = {}): Promise<HubCache | undefined> {
  const environment = readHubEnvironment();
  const cacheDir = options.cacheDir ?? environment.cacheDir;
  const fs = findBuiltin("node:fs/promises");
  if (fs !== undefined && cacheDir !== undefined) {
    const { ownCacheDir } = environment;
    const packed = ownCacheDir === undefined ? undefined : createDiskStore(ownCacheDir, fs);
    return createDirectoryCache(cacheDir, fs, packed);
  }
  if (options.cacheDir !== undefined) {
    throw new TureenError("OPTION_INVALID", "this host has no file system for hub.cacheDir", {
      found: options.cacheDir,
    });
  }
  return openBrowserCache(globalThis as unknown as BrowserGlobals);
}

/** @param host what the browser offers, or a test's stand-in */
export async function openBrowserCache(host: BrowserGlobals): Promise<HubCache | undefined> {
  const { navigator, caches } = host;
  const locks = navigator?.locks;
  const manager = locks === undefined ? createLocalLocks() : createWebLocks(locks);
  const candidates: (() => Promise<KeyStore | undefined>)[] = [
    async () => {
      const root = await navigator?.storage?.getDirectory?.();
      return root && createFileStore(await root.getDirectoryHandle("tureen", { create: true }));
    },
    async () => caches && createResponseStore(await caches.open("tureen")),
  ];
  for (const open of candidates) {
    const store = await open().catch(() => undefined); // private windows and insecure pages refuse
    if (store !== undefined && (await works(store))) {
      const freeBytes = () => freeBytesOf(navigator);
      return createPartsCache({ store: { ...store, freeBytes }, locks: manager });
    }
  }
  return undefined;
}

async function freeBytesOf(navigator: BrowserGlobals["navigator"]): Promise<number | undefined> {
  const { quota, usage } = (await navigator?.storage?.estimate?.()) ?? {};
  return quota === undefined || usage === undefined ? undefined : quota - usage;
}

async function works(store: KeyStore): Promise<boolean> {
  try {
    const key = `probe/${Math.random().toString(36).slice(2)}`; // other tabs probe, too
    await store.put(key, new Uint8Array([1]));
    const isThere = (await store.get(key))?.size === 1;
    const isListed = (await store.keys("probe/")).includes(key); // edge workers' caches cannot list
    await store.delete(key);
    return isThere && isListed;
  } catch {
    return false;
  }
}
