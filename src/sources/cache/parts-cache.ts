// The cache of a browser, over named pieces of bytes. Content is kept in parts: storage of browsers writes files in whole or not
// at all, so what arrived before a tab was closed is in the parts that were finished.
//
//   models/org--name/blobs/ETAG/0, 1, …    parts of equal size, but the last
//   models/org--name/blobs/ETAG/complete   {"nBytes","partBytes"}: written when the hash was right; without it, a partial
//   models/org--name/snapshots/COMMIT/…    {"etag"}
//   models/org--name/refs/main             a commit
//   models/org--name/used/COMMIT, ETAG     when a file of it was last opened, or a download of it went on; in ms since 1970
//   packed/…                               packed weights (packed-copy.ts)
import { TureenError, throwIfAborted } from "../../errors.ts";
import { createByteSource, shortRead } from "../byte-source.ts";
import { isCommit } from "../hub-reference.ts";
import type { ByteSource, ReadOptions } from "../source.ts";
import type { CachedRepo, CacheTrim, HubCache, PartialBlob, StreamingHash } from "./cache.ts";
import { type KeyStore, type LockManager, readText } from "./key-store.ts";
import { addPacked, removeWithPacked } from "./packed-listing.ts";
import { listStored, removeStored } from "./parts-listing.ts";
import { OpenMarks, trimCache } from "./trim.ts";

/** A part is held in memory while it arrives. */
const PART_BYTES = 8 * 1024 * 1024;

/** What is written beside complete content. */
export interface BlobMark {
  readonly nBytes: number;
  readonly partBytes: number;
}

export interface PartsCacheOptions {
  readonly store: KeyStore;
  readonly locks: LockManager;
  readonly partBytes?: number;
}

export function createPartsCache(options: PartsCacheOptions): HubCache {
  return new PartsCache(options);
}

class PartsCache implements HubCache {
  readonly name: string;
  readonly packed: KeyStore;
  readonly #store: KeyStore;
  readonly #locks: LockManager;
  readonly #partBytes: number;
  readonly #marks = new OpenMarks((key) => this.#writeText(key, String(Date.now())));

  constructor({ store, locks, partBytes = PART_BYTES }: PartsCacheOptions) {
    this.name = store.name;
    this.packed = store;
    this.#store = store;
    this.#locks = locks;
    this.#partBytes = partBytes;
  }

  async readRef(repo: string, revision: string): Promise<string | undefined> {
    const text = await this.#readText(`${repoKey(repo)}/refs/${revision}`);
    return text !== undefined && isCommit(text) ? text : undefined;
  }

  async writeRef(repo: string, revision: string, commit: string): Promise<void> {
    await this.#writeText(`${repoKey(repo)}/refs/${revision}`, commit);
  }

  async open(repo: string, commit: string, path: string): Promise<ByteSource | undefined> {
    const text = await this.#readText(`${repoKey(repo)}/snapshots/${commit}/${path}`);
    const etag = parseMark<{ etag: string }>(text)?.etag;
    if (etag === undefined) return undefined;
    const blob = `${repoKey(repo)}/blobs/${etag}`;
    const mark = await this.#readMark(blob);
    if (mark === undefined) return undefined;
    const source = openParts(this.#store, blob, mark, `${this.name}: ${repo}/${path}`);
    return this.#marks.add(usedKey(repo, commit), source);
  }

  async isAbsent(repo: string, commit: string, path: string): Promise<boolean> {
    return (await this.#store.get(`${repoKey(repo)}/absent/${commit}/${path}`)) !== undefined;
  }

  async markAbsent(repo: string, commit: string, path: string): Promise<void> {
    await this.#writeText(`${repoKey(repo)}/absent/${commit}/${path}`, "absent");
  }

  async link(
    repo: string,
    commit: string,
    path: string,
    etag: string,
    nBytes: number,
  ): Promise<boolean> {
    const mark = await this.#readMark(`${repoKey(repo)}/blobs/${etag}`);
    if (mark?.nBytes !== nBytes) return false;
    const key = `${repoKey(repo)}/snapshots/${commit}/${path}`;
    const link = JSON.stringify({ etag });
    if ((await this.#readText(key)) !== link) await this.#writeText(key, link);
    return true;
  }

  async openPartial(
    repo: string,
    etag: string,
    nBytes: number,
    { signal }: ReadOptions = {},
  ): Promise<PartialBlob | undefined> {
    const blob = `${repoKey(repo)}/blobs/${etag}`;
    const unlock = await this.#locks.acquire(`tureen:${blob}`, signal).catch((error: unknown) => {
      throwIfAborted(signal);
      throw error;
    });
    try {
      if ((await this.#readMark(blob))?.nBytes === nBytes) {
        unlock();
        return undefined;
      }
      const mark = { nBytes, partBytes: this.#partBytes };
      const used = usedKey(repo, etag);
      const partial = new PartialParts({ store: this.#store, blob, mark, unlock, used });
      await partial.markUsed();
      await partial.recover();
      return partial;
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** Loaded when needed; Web Crypto cannot hash a stream. */
  async createHash(algorithm: "sha1" | "sha256"): Promise<StreamingHash> {
    const hash =
      algorithm === "sha256"
        ? (await import("@noble/hashes/sha2.js")).sha256.create()
        : (await import("@noble/hashes/legacy.js")).sha1.create();
    return {
      update: (bytes) => void hash.update(bytes),
      digest: async () =>
        [...hash.digest()].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    };
  }

  async list(): Promise<readonly CachedRepo[]> {
    return addPacked(await listStored(this.#store), this);
  }

  remove(repo: string, revision?: string): Promise<number> {
    const remove = () => removeStored(this.#store, repo, revision);
    return removeWithPacked(this, repo, revision, remove);
  }

  trim(limit: number): Promise<CacheTrim> {
    return trimCache(this, limit);
  }

  async #readMark(blob: string): Promise<BlobMark | undefined> {
    return parseMark<BlobMark>(await this.#readText(`${blob}/complete`));
  }

  #readText(key: string): Promise<string | undefined> {
    return readText(this.#store, key);
  }

  async #writeText(key: string, text: string): Promise<void> {
    await putOrExplain(this.#store, key, new TextEncoder().encode(text));
  }
}

/** The folder of a repository, as a key. */
export function repoKey(repo: string): string {
  return `models/${repo.replace("/", "--")}`;
}

/** @param name a commit, or the etag of a download */
function usedKey(repo: string, name: string): string {
  return `${repoKey(repo)}/used/${name}`;
}

function parseMark<T>(text: string | undefined): T | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T);
  } catch {
    return undefined; // not ours, or damaged: as if it were not there
  }
}

function openParts(store: KeyStore, blob: string, mark: BlobMark, name: string): ByteSource {
  const { nBytes: size, partBytes } = mark;
  const readPart = async (index: number, start: number, end: number): Promise<Uint8Array> => {
    const part = await store.get(`${blob}/${index}`);
    if (part === undefined) throw shortRead(name, end - start, 0);
    const bytes = new Uint8Array(await part.slice(start, end).arrayBuffer());
    if (bytes.byteLength !== end - start) throw shortRead(name, end - start, bytes.byteLength);
    return bytes;
  };
  return createByteSource(name, size, {
    async read(offset, nBytes) {
      const first = Math.floor(offset / partBytes);
      const last = Math.floor((offset + nBytes - 1) / partBytes);
      const start = offset - first * partBytes;
      if (first === last) return readPart(first, start, start + nBytes);
      const bytes = new Uint8Array(nBytes);
      for (let index = first; index <= last; index++) {
        const from = Math.max(offset, index * partBytes);
        const to = Math.min(offset + nBytes, (index + 1) * partBytes);
        const base = index * partBytes;
        bytes.set(await readPart(index, from - base, to - base), from - offset);
      }
      return bytes;
    },
  });
}

interface PartialOptions {
  readonly store: KeyStore;
  /** Its key, without the part. */
  readonly blob: string;
  readonly mark: BlobMark;
  readonly unlock: () => void;
  /** The key that tells when the download last went on. */
  readonly used: string;
}

class PartialParts implements PartialBlob {
  readonly #store: KeyStore;
  readonly #blob: string;
  readonly #mark: BlobMark;
  readonly #unlock: () => void;
  readonly #used: string;
  /** The part that is filling. */
  readonly #tail: Uint8Array;
  #tailBytes = 0;
  /** Complete parts in the store. */
  #parts = 0;
  #isOpen = true;

  constructor({ store, blob, mark, unlock, used }: PartialOptions) {
    this.#used = used;
    this.#store = store;
    this.#blob = blob;
    this.#mark = mark;
    this.#unlock = unlock;
    this.#tail = new Uint8Array(Math.min(mark.partBytes, mark.nBytes));
  }

  async markUsed(): Promise<void> {
    await putOrExplain(this.#store, this.#used, new TextEncoder().encode(String(Date.now())));
  }

  get nBytes(): number {
    return this.#parts * this.#mark.partBytes + this.#tailBytes;
  }

  /** Counts the parts of an earlier attempt. A short last part is kept in memory again. */
  async recover(): Promise<void> {
    const { nBytes, partBytes } = this.#mark;
    const keys = await this.#store.keys(`${this.#blob}/`);
    if (keys.length === 0) return;
    const present = new Set(keys);
    for (let index = 0; present.has(`${this.#blob}/${index}`); index++) {
      const part = await this.#store.get(`${this.#blob}/${index}`);
      const wanted = Math.min(partBytes, nBytes - index * partBytes);
      if (part?.size !== wanted || wanted <= 0) return;
      if (wanted === partBytes) {
        this.#parts++;
      } else {
        this.#tail.set(new Uint8Array(await part.arrayBuffer()));
        this.#tailBytes = wanted;
      }
    }
  }

  async read(offset: number, nBytes: number): Promise<Uint8Array> {
    const stored = this.#parts * this.#mark.partBytes;
    const bytes = new Uint8Array(nBytes);
    const fromStore = Math.max(0, Math.min(nBytes, stored - offset));
    if (fromStore > 0) {
      const mark = { ...this.#mark, nBytes: stored };
      bytes.set(await openParts(this.#store, this.#blob, mark, this.#blob).read(offset, fromStore));
    }
    const from = offset + fromStore - stored;
    bytes.set(this.#tail.subarray(from, from + nBytes - fromStore), fromStore);
    return bytes;
  }

  async append(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const take = Math.min(bytes.length - done, this.#tail.length - this.#tailBytes);
      if (take === 0)
        throw new TureenError("SOURCE_WRITE_FAILED", "more content than was announced");
      this.#tail.set(bytes.subarray(done, done + take), this.#tailBytes);
      this.#tailBytes += take;
      done += take;
      if (this.#tailBytes < this.#mark.partBytes) continue;
      await putOrExplain(this.#store, `${this.#blob}/${this.#parts}`, this.#tail);
      this.#parts++;
      this.#tailBytes = 0;
      await this.markUsed();
    }
  }

  async reset(): Promise<void> {
    for (const key of await this.#store.keys(`${this.#blob}/`)) await this.#store.delete(key);
    this.#parts = 0;
    this.#tailBytes = 0;
  }

  async finish(): Promise<void> {
    if (this.#tailBytes > 0) {
      const last = this.#tail.subarray(0, this.#tailBytes);
      await putOrExplain(this.#store, `${this.#blob}/${this.#parts}`, last);
    }
    const mark = new TextEncoder().encode(JSON.stringify(this.#mark));
    await putOrExplain(this.#store, `${this.#blob}/complete`, mark);
    await this.#store.delete(this.#used); // from now on it is used as part of a commit
    await this.release();
  }

  async release(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#unlock();
  }
}

/** Quotas, said plainly. */
async function putOrExplain(store: KeyStore, key: string, bytes: Uint8Array): Promise<void> {
  try {
    await store.put(key, bytes);
  } catch (cause) {
    const error = cause as { name?: unknown; message?: unknown };
    const found = `${String(error.name)}: ${String(error.message)}`;
    const isQuota = error.name === "QuotaExceededError" || (await hasNoRoom(store, bytes.length));
    throw new TureenError(
      "SOURCE_WRITE_FAILED",
      isQuota ? "the browser gives this page no more storage" : "the cache cannot be written",
      {
        found,
        where: store.name,
        hint: isQuota
          ? 'What has arrived is kept. Remove other models (openHubCache), ask for more with navigator.storage.persist(), or read without a cache: hub.cache = "none".'
          : 'Read without a cache: hub.cache = "none".',
      },
      { cause },
    );
  }
}

/** Chromium may break off a write that the quota does not allow as any other: whether there is room for it tells. */
async function hasNoRoom(store: KeyStore, nBytes: number): Promise<boolean> {
  for (let look = 0; look < 5; look++) {
    if (look > 0) await new Promise((resolve) => setTimeout(resolve, 200)); // what it tells may lag behind
    const free = await store.freeBytes?.();
    if (free === undefined) return false;
    if (free < nBytes) return true;
  }
  return false;
}
