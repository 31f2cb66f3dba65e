// Packed weights in a cache: what is read back is what was written, and whatever is damaged, cut or of something else is not
// there. On a disk and in a browser's storage alike.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import * as nodeFs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  createLocalLocks,
  createResponseStore,
} from "../../../src/sources/cache/browser-stores.ts";
import type { HubCache } from "../../../src/sources/cache/cache.ts";
import { createDirectoryCache } from "../../../src/sources/cache/directory-cache.ts";
import { createDiskStore } from "../../../src/sources/cache/disk-store.ts";
import type { PieceStore } from "../../../src/sources/cache/key-store.ts";
import {
  type PackedContent,
  type PackedName,
  PackedReader,
  PackedUnreadable,
  PackedWriter,
  packedKey,
} from "../../../src/sources/cache/packed-copy.ts";
import { createPartsCache } from "../../../src/sources/cache/parts-cache.ts";
import { failureOf } from "../../formats/failure.ts";
import { COMMIT, OTHER_COMMIT, someBytes } from "../hub-mock.ts";

const PART = 1000;
/** Three parts and a bit. */
const BYTES = someBytes(3 * PART + 10);
const CONTENT: PackedContent = { identity: "of these files", nBytes: BYTES.length };

let root: string;

/** Bytes that still fit; tests lower it. */
let room = Number.POSITIVE_INFINITY;

function memoryStore() {
  const pieces = new Map<string, Uint8Array<ArrayBuffer>>();
  return createResponseStore({
    match: async (url) => (pieces.has(url) ? new Response(pieces.get(url)) : undefined),
    put: async (url, response) => {
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (bytes.length > room) throw new DOMException("no more", "QuotaExceededError");
      pieces.set(url, bytes);
    },
    delete: async (url) => pieces.delete(url),
    keys: async () => [...pieces.keys()].map((url) => ({ url })),
  });
}

function limitedDisk(): PieceStore {
  const open = (async (path: string, flags: string) => {
    const file = await nodeFs.open(path, flags);
    const { writeFile } = file;
    file.writeFile = async (data) => {
      if ((data as Uint8Array).length > room) {
        await writeFile.call(file, (data as Uint8Array).subarray(0, room));
        throw Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
      }
      await writeFile.call(file, data);
    };
    return file;
  }) as typeof nodeFs.open;
  return createDiskStore(join(root, "own"), { ...nodeFs, open });
}

const CACHES = [
  {
    name: "on a disk",
    create: () => createDirectoryCache(join(root, "hub"), nodeFs, limitedDisk()),
  },
  {
    name: "in a browser's storage",
    create: () => createPartsCache({ store: memoryStore(), locks: createLocalLocks() }),
  },
];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tureen-packed-"));
  room = Number.POSITIVE_INFINITY;
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe.each(CACHES)("$name", ({ create }) => {
  let cache: HubCache;
  let store: PieceStore;
  let name: PackedName;

  beforeEach(() => {
    cache = create();
    store = cache.packed!;
    name = { cache: cache.name, model: "org/name", commit: COMMIT, layout: "wasm q4" };
  });

  async function write(more: Partial<PackedName> = {}, content = CONTENT): Promise<void> {
    const writer = await PackedWriter.create(store, { ...name, ...more }, content, PART);
    // Pieces that end inside of parts, at their ends, and span them.
    for (const [from, to] of [[0, 1], [1, PART], [PART, 3 * PART - 7], [3 * PART - 7]] as const) {
      const piece = BYTES.slice(from, to);
      await writer.write(piece);
      piece.fill(0); // it was taken
    }
    await writer.finish();
  }

  async function read(
    sizes: readonly number[] = [10, PART - 10, 0, 2 * PART + 10],
    content = CONTENT,
    more: Partial<PackedName> = {},
  ): Promise<Uint8Array | undefined> {
    const reader = await PackedReader.open(store, { ...name, ...more }, content);
    if (reader === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    for (const size of sizes) {
      for await (const piece of reader.read(size)) pieces.push(piece.slice());
    }
    return new Uint8Array(Buffer.concat(pieces));
  }

  const key = async (piece: string): Promise<string> => `${await packedKey(name)}/${piece}`;

  test("comes back as it was written, in any pieces", async () => {
    expect(await read()).toBeUndefined();
    await write();
    expect(await read()).toEqual(BYTES);
    expect(await read([BYTES.length])).toEqual(BYTES);
    expect(await read(Array(BYTES.length / 10).fill(10))).toEqual(BYTES);
  });

  test("nothing but the whole of it counts: without a mark it is not there", async () => {
    const writer = await PackedWriter.create(store, name, CONTENT, PART);
    await writer.write(BYTES);
    expect(await read()).toBeUndefined();
    await writer.finish();
    expect(await read()).toEqual(BYTES);
  });

  test("written short or discarded: nothing is left", async () => {
    await write();
    const short = await PackedWriter.create(store, name, CONTENT, PART);
    await short.write(BYTES.subarray(0, 2 * PART));
    await expect(short.finish()).rejects.toThrow("incomplete");
    expect(await store.keys("packed/")).toEqual([]);
    const given = await PackedWriter.create(store, name, CONTENT, PART);
    await given.write(BYTES.subarray(0, 2 * PART));
    await given.discard();
    await given.write(BYTES.subarray(2 * PART));
    expect(await store.keys("packed/")).toEqual([]);
  });

  test.each<[string, Partial<PackedName>, Partial<PackedContent>]>([
    ["of changed files", {}, { identity: "of others" }],
    ["of another size", {}, { nBytes: BYTES.length - 1 }],
    ["in another layout", { layout: "wasm q4 relaxed" }, {}],
    ["of another model", { model: "org/other" }, {}],
    ["of another commit", { commit: OTHER_COMMIT }, {}],
    ["of another folder", { folder: "sub" }, {}],
    ["beside another cache", { cache: "/elsewhere" }, {}],
  ])("a copy %s is none", async (_, more, content) => {
    await write();
    expect(await read([BYTES.length], { ...CONTENT, ...content }, more)).toBeUndefined();
    expect(await read()).toEqual(BYTES);
  });

  test("changed files take the place of their old copy", async () => {
    await write();
    const before = (await store.keys("packed/")).length;
    const changed = { ...CONTENT, identity: "changed" };
    await write({}, changed);
    expect(await store.keys("packed/")).toHaveLength(before);
    expect(await read()).toBeUndefined();
    expect(await read([BYTES.length], changed)).toEqual(BYTES);
  });

  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

  test.each<[string, string, (bytes: Uint8Array) => Uint8Array | undefined]>([
    ["a part that is gone", "1", () => undefined],
    ["a part that is cut", "1", (bytes) => bytes.slice(0, -1)],
    ["a part that is longer", "3", (bytes) => new Uint8Array([...bytes, 0])],
    ["an empty part", "0", () => new Uint8Array(0)],
    ["other hashes", "complete", (bytes) => replace(bytes, /"parts":\["./, '"parts":["g')],
  ])("damage is found while reading, and mended: %s", async (_, piece, change) => {
    await write();
    await damage(await key(piece), change);
    await expect(read([BYTES.length])).rejects.toThrow(PackedUnreadable);
    await write();
    expect(await read()).toEqual(BYTES);
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array | undefined]>([
    ["gone", () => undefined],
    ["cut", (bytes) => bytes.slice(0, -1)],
    ["nothing", () => encode("null")],
    ["another thing", () => encode("[1]")],
    ["too few hashes", (bytes) => replace(bytes, /"parts":\["\w*",/, '"parts":[')],
    ["no hashes", (bytes) => replace(bytes, /"parts":.*/, '"parts":7}')],
    ["parts without size", (bytes) => replace(bytes, /"partBytes":\d+/, '"partBytes":0')],
    ["endless parts", (bytes) => replace(bytes, /"partBytes":\d+/, '"partBytes":1e15')],
  ])("a mark that is damaged is none: %s", async (_, change) => {
    await write();
    await damage(await key("complete"), change);
    expect(await read([BYTES.length])).toBeUndefined();
    await write();
    expect(await read()).toEqual(BYTES);
  });

  async function damage(
    at: string,
    change: (bytes: Uint8Array) => Uint8Array | undefined,
  ): Promise<void> {
    const changed = change(new Uint8Array(await (await store.get(at))!.arrayBuffer()));
    if (changed === undefined) await store.delete(at);
    else await store.put(at, changed);
  }

  test("whichever bit changes, other bytes are never read", async () => {
    const pieces = ["0", "1", "2", "3", "complete", "about", "used"];
    await write();
    const parameters = [fc.constantFrom(...pieces), fc.nat(), fc.nat(7)] as const;
    const property = fc.asyncProperty(...parameters, async (piece, where, bit) => {
      const at = await key(piece);
      const before = new Uint8Array(await (await store.get(at))!.arrayBuffer());
      await damage(at, (bytes) => {
        bytes[where % bytes.length]! ^= 1 << bit;
        return bytes;
      });
      const outcome = await read([BYTES.length]).catch((error: unknown) => error);
      const isNone = outcome === undefined || outcome instanceof PackedUnreadable;
      if (!isNone) expect(outcome).toEqual(BYTES);
      if (/\d/.test(piece)) expect(isNone).toBe(true);
      await store.put(at, before);
    });
    await fc.assert(property, { numRuns: 200 });
  });

  test("storage that fails while it is read is damage, too", async () => {
    await write();
    const reader = (await PackedReader.open(store, name, CONTENT))!;
    vi.spyOn(store, "get").mockRejectedValue(new DOMException("gone", "NotReadableError"));
    const drain = async () => {
      for await (const piece of reader.read(BYTES.length)) expect(piece.length).toBeGreaterThan(0);
    };
    await expect(drain()).rejects.toThrow(PackedUnreadable);
    expect(await read()).toBeUndefined();
  });

  test("a full disk is told at the end, and leaves nothing", async () => {
    const writer = await PackedWriter.create(store, name, CONTENT, PART);
    await writer.write(BYTES.subarray(0, PART + 1));
    room = 500;
    await writer.write(BYTES.subarray(PART + 1));
    await expect(writer.finish()).rejects.toThrow(/no space left|no more/);
    expect(await store.keys("packed/")).toEqual([]);
  });

  test("no copy where less than twice its size is free", async () => {
    const scarce = { ...store, freeBytes: async () => 2 * BYTES.length - 1 };
    const writer = await PackedWriter.create(scarce, name, CONTENT, PART);
    await writer.write(BYTES);
    await expect(writer.finish()).rejects.toThrow("6019 bytes are free, and twice 3010 should be");
    expect(await store.keys("packed/")).toEqual([]);
  });

  test("several write the same at once, and one gives up: never anything else is read", async () => {
    const seen = new Set<string>();
    const look = async () => {
      const bytes = await read([BYTES.length]).catch((error: unknown) => {
        if (error instanceof PackedUnreadable) return undefined;
        throw error;
      });
      seen.add(bytes === undefined ? "none" : Buffer.from(bytes).toString("hex"));
    };
    const quitter = async () => {
      const writer = await PackedWriter.create(store, name, CONTENT, PART);
      await writer.write(BYTES.subarray(0, 2 * PART));
      await writer.discard();
    };
    const looks = Array.from({ length: 20 }, async (_, i) => {
      await new Promise((resolve) => setTimeout(resolve, i));
      await look();
    });
    await Promise.allSettled([write(), quitter(), write(), write(), quitter()]);
    await Promise.all(looks);
    seen.delete("none");
    seen.delete(Buffer.from(BYTES).toString("hex"));
    expect([...seen]).toEqual([]);
    await write();
    expect(await read()).toEqual(BYTES);
  });

  describe("in the cache's books", () => {
    /** Downloads of 1000 bytes. */
    async function keep(repo: string, commit = COMMIT): Promise<void> {
      const etag = commit + repo.replace("/", "_");
      const partial = (await cache.openPartial(repo, etag, 1000))!;
      await partial.append(someBytes(1000));
      await partial.finish();
      await cache.link(repo, commit, "weights", etag, 1000);
      await (await cache.open(repo, commit, "weights"))!.close();
    }
    /** Beside the parts there are the mark, and notes on whose it is and when it was used. */
    const least = BYTES.length;
    const books = async () =>
      (await cache.list()).map(({ repo, revisions, nBytes, packedBytes }) => {
        expect(packedBytes === 0 || packedBytes % least < 1000 * (packedBytes / least)).toBe(true);
        return [repo, revisions.length, Math.floor(packedBytes / least), nBytes - packedBytes];
      });

    test("counted with the model, or under its own name where there is none", async () => {
      await keep("org/name");
      await keep("org/other");
      await write();
      await write({ layout: "wasm q8" });
      await write({ model: "/a/folder", commit: undefined });
      await write({ model: "org/foreign", cache: "/elsewhere" }); // of another cache
      expect(await books()).toEqual([
        ["org/name", 1, 2, 1000],
        ["org/other", 1, 0, 1000],
        ["/a/folder", 0, 1, 0],
      ]);
    });

    test("goes with the model, or with the revision that it was made of", async () => {
      await keep("org/name");
      await keep("org/name", OTHER_COMMIT);
      await cache.writeRef("org/name", "main", OTHER_COMMIT);
      await write();
      await write({ commit: OTHER_COMMIT });
      await write({ commit: OTHER_COMMIT, layout: "wasm q8" });
      expect(await cache.remove("org/name", "main")).toBeGreaterThan(1000 + 2 * least);
      expect(await books()).toEqual([["org/name", 1, 1, 1000]]);
      expect(await cache.remove("org/name", COMMIT)).toBeGreaterThan(1000 + least);
      expect(await store.keys("packed/")).toEqual([]);
      await keep("org/name");
      await write();
      await write({ commit: OTHER_COMMIT });
      await cache.remove("org/name");
      expect(await books()).toEqual([]);
    });

    test("of a model that is not in the cache: by its name", async () => {
      await write({ model: "/a/folder", commit: undefined });
      expect(await cache.remove("/a/folder")).toBeGreaterThan(least);
      expect(await failureOf(() => cache.remove("/a/folder"))).toMatch("/a/folder is not in the");
    });

    test("what an interruption left is seen and removed", async () => {
      const writer = await PackedWriter.create(store, name, CONTENT, PART);
      await writer.write(BYTES);
      const keys = await store.keys("packed/"); // as if the program ended here
      expect(keys.length).toBeGreaterThan(3);
      expect((await cache.list())[0]).toMatchObject({ repo: "org/name", revisions: [] });
      await cache.remove("org/name");
      await store.put("packed/0123/0", BYTES); // of nobody
      expect(await books()).toEqual([["packed/0123", 0, 1, 0]]);
      await cache.remove("packed/0123");
      expect(await store.keys("packed/")).toEqual([]);
    });

    test("counts towards a limit, and goes when it was not used for longest", async () => {
      vi.useFakeTimers({ toFake: ["Date"] });
      try {
        const start = performance.timeOrigin + performance.now();
        vi.setSystemTime(start);
        await write({ model: "org/old" });
        await write({ model: "org/used" });
        vi.setSystemTime(start + 3_600_000);
        await read([BYTES.length], CONTENT, { model: "org/used" });
        await keep("org/name");
        vi.setSystemTime(start + 2 * 3_600_000);
        await write();
        const { nBytes } = await cache.trim(1e9);
        expect(nBytes).toBeGreaterThan(3 * least + 1000);
        const { removed } = await cache.trim(nBytes - 1);
        expect(removed).toEqual([{ repo: "org/old", commit: undefined }]);
        expect((await cache.trim(0)).removed).toEqual([{ repo: "org/used", commit: undefined }]);
        expect(await books()).toEqual([["org/name", 1, 1, 1000]]); // just used
      } finally {
        vi.useRealTimers();
      }
    });
  });
});

test("on a disk, no folder and no temporary file is left", async () => {
  const cache = CACHES[0]!.create();
  const name = { cache: cache.name, model: "org/name", layout: "wasm q4" };
  const writer = await PackedWriter.create(cache.packed!, name, CONTENT, PART);
  await writer.write(BYTES);
  await writer.finish();
  expect(readdirSync(join(root, "own", await packedKey(name))).sort()).toEqual(
    ["0", "1", "2", "3", "about", "complete", "used"].sort(),
  );
  await cache.remove("org/name");
  expect(readdirSync(join(root, "own/packed"))).toEqual([]);
});

function replace(bytes: Uint8Array, pattern: RegExp, by: string): Uint8Array {
  const text = new TextDecoder().decode(bytes);
  expect(text).toMatch(pattern);
  return new TextEncoder().encode(text.replace(pattern, by));
}

test("a folder that another program removes meanwhile is made again", async () => {
  let removals = 3;
  const open: typeof nodeFs.open = async (path, flags) => {
    // between mkdir and open: the last piece in it was deleted, and the empty folder with it
    if (flags === "wx" && removals-- > 0) rmSync(join(root, "own"), { recursive: true });
    return nodeFs.open(path, flags);
  };
  const store = createDiskStore(join(root, "own"), { ...nodeFs, open });
  await store.put("packed/copy/0", BYTES);
  expect(new Uint8Array(await (await store.get("packed/copy/0"))!.arrayBuffer())).toEqual(BYTES);
  removals = Number.POSITIVE_INFINITY; // it ends in any case
  await expect(store.put("packed/copy/1", BYTES)).rejects.toThrow("ENOENT");
});
