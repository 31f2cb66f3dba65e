// The cache of browsers, with stand-ins for their storage: content in parts, resumed, locked, listed, removed, out of quota.
import { createHash } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import {
  createFileStore,
  createLocalLocks,
  createResponseStore,
  createWebLocks,
  type DirectoryHandle,
  type FileHandle,
  type ResponseCache,
} from "../../../src/sources/cache/browser-stores.ts";
import type { HubCache, PartialBlob } from "../../../src/sources/cache/cache.ts";
import type { KeyStore } from "../../../src/sources/cache/key-store.ts";
import { openBrowserCache } from "../../../src/sources/cache/open-cache.ts";
import { createPartsCache } from "../../../src/sources/cache/parts-cache.ts";
import { failureOf } from "../../formats/failure.ts";
import { COMMIT, OTHER_COMMIT, someBytes } from "../hub-mock.ts";

const PART = 1000;

/** A file of the origin private file system: changes when the stream is closed, as in browsers. */
class FakeFile implements FileHandle {
  readonly kind = "file" as const;
  content: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  readonly #disk: FakeDisk;

  constructor(disk: FakeDisk) {
    this.#disk = disk;
  }

  async getFile(): Promise<Blob> {
    return new Blob([this.content]);
  }

  async createWritable() {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    return {
      write: async (bytes: Uint8Array<ArrayBuffer>) => {
        this.#disk.take(bytes.length);
        pieces.push(bytes.slice());
      },
      close: async () => {
        this.content = new Uint8Array(await new Blob(pieces).arrayBuffer());
      },
      abort: async () => {},
    };
  }
}

class FakeDirectory implements DirectoryHandle {
  readonly kind = "directory" as const;
  readonly #children = new Map<string, FakeDirectory | FakeFile>();
  readonly #disk: FakeDisk;

  constructor(disk: FakeDisk) {
    this.#disk = disk;
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<FakeDirectory> {
    const found = this.#children.get(name) ?? (create ? new FakeDirectory(this.#disk) : undefined);
    if (found === undefined) throw domError("NotFoundError");
    if (!(found instanceof FakeDirectory)) throw domError("TypeMismatchError");
    this.#children.set(name, found);
    return found;
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<FakeFile> {
    if (/[/\\:*?]/.test(name) || name === "..")
      throw new TypeError(`the name ${name} is not allowed`);
    const found = this.#children.get(name) ?? (create ? new FakeFile(this.#disk) : undefined);
    if (found === undefined) throw domError("NotFoundError");
    if (!(found instanceof FakeFile)) throw domError("TypeMismatchError");
    this.#children.set(name, found);
    return found;
  }

  async removeEntry(name: string): Promise<void> {
    if (!this.#children.delete(name)) throw domError("NotFoundError");
  }

  async *entries(): AsyncGenerator<[string, FakeDirectory | FakeFile]> {
    yield* this.#children;
  }
}

class FakeDisk {
  room = Number.POSITIVE_INFINITY;
  readonly root: FakeDirectory = new FakeDirectory(this);

  take(nBytes: number): void {
    if (nBytes > this.room) throw domError("QuotaExceededError");
    this.room -= nBytes;
  }
}

class FakeResponseCache implements ResponseCache {
  room = Number.POSITIVE_INFINITY;
  readonly #responses = new Map<string, Blob>();

  async match(url: string): Promise<Response | undefined> {
    const blob = this.#responses.get(url);
    return blob && new Response(blob);
  }

  async put(url: string, response: Response): Promise<void> {
    const blob = await response.blob();
    if (blob.size > this.room) throw domError("QuotaExceededError");
    this.room -= blob.size;
    this.#responses.set(url, blob);
  }

  async delete(url: string): Promise<boolean> {
    return this.#responses.delete(url);
  }

  async keys(): Promise<readonly { url: string }[]> {
    return [...this.#responses.keys()].map((url) => ({ url }));
  }
}

function domError(name: string): Error {
  return Object.assign(new Error("as the browser says"), { name });
}

interface Setup {
  readonly store: KeyStore;
  limit(nBytes: number): void;
}

const setups: readonly [string, () => Setup][] = [
  [
    "origin private file system",
    () => {
      const disk = new FakeDisk();
      const limit = (nBytes: number): void => {
        disk.room = nBytes;
      };
      return { store: createFileStore(disk.root), limit };
    },
  ],
  [
    "cache storage",
    () => {
      const cache = new FakeResponseCache();
      const limit = (nBytes: number): void => {
        cache.room = nBytes;
      };
      return { store: createResponseStore(cache), limit };
    },
  ],
];

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function keep(
  cache: HubCache,
  path: string,
  content: Uint8Array,
  commit: string = COMMIT,
): Promise<void> {
  const etag = sha256(content);
  const partial = await cache.openPartial("org/name", etag, content.length);
  await partial?.append(content);
  await partial?.finish();
  expect(await cache.link("org/name", commit, path, etag, content.length)).toBe(true);
}

async function read(cache: HubCache, path: string, commit: string = COMMIT): Promise<Buffer> {
  const source = (await cache.open("org/name", commit, path))!;
  return Buffer.from(await source.read(0, source.size));
}

describe.each(setups)("%s", (name, setUp) => {
  let setup: Setup;
  let cache: HubCache;
  beforeEach(() => {
    setup = setUp();
    const { store } = setup;
    cache = createPartsCache({ store, locks: createLocalLocks(), partBytes: PART });
    expect(cache.name).toBe(name);
  });

  test("names of every kind", async () => {
    const keys = ["a", "b/c d/ä.bin", "b/%2e", "b/..x", "b/x:y*z?", "bc"];
    for (const key of keys) await setup.store.put(key, new TextEncoder().encode(key));
    for (const key of keys) expect(await (await setup.store.get(key))?.text()).toBe(key);
    expect((await setup.store.keys("")).sort()).toEqual([...keys].sort());
    expect((await setup.store.keys("b/")).length).toBe(4);
    await setup.store.delete("b/%2e");
    await setup.store.delete("b/%2e");
    expect(await setup.store.get("b/%2e")).toBeUndefined();
    expect(await setup.store.get("nowhere/at/all")).toBeUndefined();
    expect(await setup.store.keys("nowhere/")).toEqual([]);
  });

  test.each([0, 1, 999, 1000, 1001, 2000, 3500])("content of %i bytes", async (nBytes) => {
    const content = someBytes(nBytes);
    await keep(cache, "a/b.bin", content);
    expect((await read(cache, "a/b.bin")).equals(content)).toBe(true);
  });

  test("reads across parts", async () => {
    const content = someBytes(3500);
    await keep(cache, "a", content);
    const source = (await cache.open("org/name", COMMIT, "a"))!;
    for (const [offset, nBytes] of [
      [0, 1],
      [999, 2],
      [1000, 1000],
      [500, 2900],
      [3499, 1],
    ] as const) {
      const expected = content.subarray(offset, offset + nBytes);
      expect(Buffer.from(await source.read(offset, nBytes)).equals(expected)).toBe(true);
    }
  });

  test("a download that was cut off goes on from its last whole part", async () => {
    const content = someBytes(3500);
    const etag = sha256(content);
    const cut = (await cache.openPartial("org/name", etag, 3500))!;
    await cut.append(content.subarray(0, 2700));
    // The tab is closed: nothing is released in this realm, and another opens the same storage.
    const { store } = setup;
    const other = createPartsCache({ store, locks: createLocalLocks(), partBytes: PART });
    const partial = (await other.openPartial("org/name", etag, 3500))!;
    expect(partial.nBytes).toBe(2000);
    expect(Buffer.from(await partial.read(900, 600)).equals(content.subarray(900, 1500))).toBe(
      true,
    );
    expect(await other.link("org/name", COMMIT, "a", etag, 3500)).toBe(false);
    await partial.append(content.subarray(2000));
    expect(Buffer.from(await partial.read(2500, 1000)).equals(content.subarray(2500))).toBe(true);
    await partial.finish();
    expect(await other.link("org/name", COMMIT, "a", etag, 3500)).toBe(true);
    expect((await read(other, "a")).equals(content)).toBe(true);
  });

  test("reset forgets everything", async () => {
    const partial = (await cache.openPartial("org/name", "abc", 2500))!;
    await partial.append(someBytes(2500));
    await partial.reset();
    expect(partial.nBytes).toBe(0);
    expect(await setup.store.keys("models/org--name/blobs/")).toEqual([]);
    await partial.release();
  });

  test("out of quota: said plainly, what was there stays", async () => {
    const other = someBytes(500, 5);
    await keep(cache, "other", other);
    setup.limit(1500);
    const content = someBytes(3500);
    const partial = (await cache.openPartial("org/name", sha256(content), 3500))!;
    const text = await failureOf(() => partial.append(content));
    expect(text).toMatch(
      /^SOURCE_WRITE_FAILED: the browser gives this page no more storage: found QuotaExceededError: as the browser says/,
    );
    await partial.release();
    expect((await read(cache, "other")).equals(other)).toBe(true);
    setup.limit(Number.POSITIVE_INFINITY);
    const again = (await cache.openPartial("org/name", sha256(content), 3500))!;
    expect(again.nBytes).toBe(1000);
    await again.release();
  });

  test("refs and absent files", async () => {
    await cache.writeRef("org/name", "refs/pr/1", COMMIT);
    expect(await cache.readRef("org/name", "refs/pr/1")).toBe(COMMIT);
    expect(await cache.readRef("org/name", "main")).toBeUndefined();
    expect(await cache.isAbsent("org/name", COMMIT, "a/b")).toBe(false);
    await cache.markAbsent("org/name", COMMIT, "a/b");
    expect(await cache.isAbsent("org/name", COMMIT, "a/b")).toBe(true);
  });

  test("listing and removing", async () => {
    const shared = someBytes(2500);
    await keep(cache, "weights", shared);
    await keep(cache, "config", someBytes(100, 2));
    await keep(cache, "weights", shared, OTHER_COMMIT);
    await keep(cache, "config", someBytes(200, 3), OTHER_COMMIT);
    await cache.writeRef("org/name", "main", OTHER_COMMIT);
    const partial = (await cache.openPartial("org/name", "abc", 3000))!;
    await partial.append(someBytes(1500));
    await partial.release();
    expect(await cache.list()).toEqual([
      {
        repo: "org/name",
        nBytes: 3800,
        incompleteBytes: 1000,
        packedBytes: 0,
        lastUsed: expect.any(Number),
        revisions: [
          {
            commit: COMMIT,
            refs: [],
            files: ["config", "weights"],
            nBytes: 2600,
            lastUsed: expect.any(Number),
          },
          {
            commit: OTHER_COMMIT,
            refs: ["main"],
            files: ["config", "weights"],
            nBytes: 2700,
            lastUsed: expect.any(Number),
          },
        ],
      },
    ]);
    expect(await cache.remove("org/name", "main")).toBe(200);
    expect((await read(cache, "weights")).equals(shared)).toBe(true);
    expect(await cache.open("org/name", OTHER_COMMIT, "weights")).toBeUndefined();
    expect(await failureOf(() => cache.remove("org/name", "main"))).toMatch(/^SOURCE_NOT_FOUND/);
    expect(await cache.remove("org/name")).toBe(3600);
    expect(await setup.store.keys("")).toEqual([]);
    expect(await failureOf(() => cache.remove("org/name"))).toMatch(/^SOURCE_NOT_FOUND/);
  });

  test("two tabs: the second waits and finds the content", async () => {
    const content = someBytes(1500);
    const etag = sha256(content);
    const first = (await cache.openPartial("org/name", etag, 1500))!;
    let second: PartialBlob | undefined | "waiting" = "waiting";
    const opening = cache.openPartial("org/name", etag, 1500).then((partial) => {
      second = partial;
    });
    await first.append(content);
    expect(second).toBe("waiting");
    await first.finish();
    await opening;
    expect(second).toBeUndefined();
  });

  test("hashes", async () => {
    const content = someBytes(1234);
    for (const algorithm of ["sha1", "sha256"] as const) {
      const hash = await cache.createHash(algorithm);
      hash.update(content.subarray(0, 100));
      hash.update(content.subarray(100));
      expect(await hash.digest()).toBe(createHash(algorithm).update(content).digest("hex"));
    }
  });
});

test("files that can only be written in place, in a worker", async () => {
  const disk = new FakeDisk();
  const file = await (await disk.root.getDirectoryHandle("a", { create: true })).getFileHandle(
    "0",
    {
      create: true,
    },
  );
  let closed = 0;
  const inPlace = (limit: number) => ({
    createWritable: undefined,
    createSyncAccessHandle: async () => ({
      truncate: () => {},
      write: (bytes: Uint8Array, { at }: { at: number }) => {
        expect(at).toBe(0);
        file.content = bytes.slice(0, limit) as Uint8Array<ArrayBuffer>;
        return Math.min(limit, bytes.length);
      },
      flush: () => {},
      close: () => {
        closed++;
      },
    }),
  });
  const store = createFileStore(disk.root);
  Object.assign(file, inPlace(100));
  await store.put("a/0", new Uint8Array([1, 2, 3]));
  expect((await store.get("a/0"))?.size).toBe(3);
  Object.assign(file, inPlace(2));
  await expect(store.put("a/0", new Uint8Array([1, 2, 3]))).rejects.toThrow("2 of 3 bytes written");
  expect(await store.get("a/0")).toBeUndefined(); // no half-written piece stays
  expect(closed).toBe(2);
});

describe("locks", () => {
  /** As `navigator.locks`, for one name. */
  function fakeWebLocks() {
    let tail: Promise<unknown> = Promise.resolve();
    return {
      request(_: string, { signal }: { signal?: AbortSignal }, hold: () => Promise<void>) {
        const turn = tail.then(() => (signal?.aborted ? Promise.reject(signal.reason) : hold()));
        tail = turn.catch(() => {});
        return turn;
      },
    };
  }
  test.each([
    ["of the browser", () => createWebLocks(fakeWebLocks())],
    ["of one page", createLocalLocks],
  ])("%s: one holder at a time, abort lets go", async (_, create) => {
    const locks = create();
    const order: string[] = [];
    const release = await locks.acquire("a", undefined);
    const controller = new AbortController();
    const aborted = locks.acquire("a", controller.signal).catch(() => order.push("aborted"));
    const third = locks.acquire("a", undefined).then((unlock) => {
      order.push("third");
      unlock();
    });
    controller.abort(new Error("enough"));
    await new Promise((resolve) => setTimeout(resolve, 5));
    order.push("release");
    release();
    await Promise.all([aborted, third]);
    expect(order.indexOf("release")).toBeLessThan(order.indexOf("third"));
    expect(order).toContain("aborted");
    (await locks.acquire("a", undefined))();
  });
});

describe("what a browser offers", () => {
  const refuse = async (): Promise<never> => {
    throw domError("SecurityError");
  };
  const caches = { open: async () => new FakeResponseCache() };

  test("the file system first, then cache storage, then nothing", async () => {
    const storage = { getDirectory: async () => new FakeDisk().root };
    expect((await openBrowserCache({ navigator: { storage }, caches }))?.name).toBe(
      "origin private file system",
    );
    const refused = { navigator: { storage: { getDirectory: refuse } }, caches };
    expect((await openBrowserCache(refused))?.name).toBe("cache storage");
    expect((await openBrowserCache({ navigator: { storage: {} }, caches }))?.name).toBe(
      "cache storage",
    );
    expect(await openBrowserCache({ caches: { open: refuse } })).toBeUndefined();
    expect(await openBrowserCache({})).toBeUndefined();
  });

  test("a store that cannot list does not count", async () => {
    const cache = Object.assign(new FakeResponseCache(), { keys: refuse });
    expect(await openBrowserCache({ caches: { open: async () => cache } })).toBeUndefined();
  });

  test("a store without any room does not count", async () => {
    const disk = new FakeDisk();
    disk.room = 0;
    const storage = { getDirectory: async () => disk.root };
    expect(await openBrowserCache({ navigator: { storage } })).toBeUndefined();
  });
});
