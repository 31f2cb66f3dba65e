// The cache on a disk: full disks, systems without links, abandoned downloads, listing and removing.
import { createHash } from "node:crypto";
import * as fs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { HubCache } from "../../../src/sources/cache/cache.ts";
import { createDirectoryCache } from "../../../src/sources/cache/directory-cache.ts";
import type { FileSystem } from "../../../src/sources/cache/file-system.ts";
import { failureOf } from "../../formats/failure.ts";
import { COMMIT, OTHER_COMMIT, someBytes } from "../hub-mock.ts";

let root: string;
beforeEach(async () => {
  root = await fs.mkdtemp(join(tmpdir(), "tureen-cache-"));
});
afterEach(() => fs.rm(root, { recursive: true, force: true }));

const blobs = async (): Promise<string[]> =>
  (await fs.readdir(join(root, "models--org--name/blobs"))).sort();

async function keep(
  cache: HubCache,
  path: string,
  content: Uint8Array,
  commit: string = COMMIT,
): Promise<string> {
  const etag = createHash("sha256").update(content).digest("hex");
  const partial = await cache.openPartial("org/name", etag, content.length);
  await partial?.append(content);
  await partial?.finish();
  await partial?.release();
  expect(await cache.link("org/name", commit, path, etag, content.length)).toBe(true);
  return etag;
}

async function read(cache: HubCache, path: string, commit: string = COMMIT): Promise<Buffer> {
  const source = (await cache.open("org/name", commit, path))!;
  try {
    return Buffer.from(await source.read(0, source.size));
  } finally {
    await source.close();
  }
}

function failure(action: () => unknown): Promise<string> {
  return failureOf(action).then((text) =>
    text.replaceAll(root, "CACHE").replace(/\.\w+-\d+-\w+\.incomplete/, ".OWNER.incomplete"),
  );
}

/** The real file system with something changed. */
function altered(changes: Partial<FileSystem>): FileSystem {
  return { ...fs, ...changes };
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: as the system says`), { code });
}

describe("a full disk", () => {
  test("is noticed before the download, where the system tells", async () => {
    const tiny = altered({
      statfs: (async () => ({ bavail: 10, bsize: 4096 })) as unknown as FileSystem["statfs"],
    });
    const partial = (await createDirectoryCache(root, tiny).openPartial("org/name", "a", 50_000))!;
    expect(await failure(() => partial.append(someBytes(100)))).toMatchInlineSnapshot(
      `"SOURCE_WRITE_FAILED: the disk is full: found 40960 bytes free of 50000 that are still needed (CACHE/models--org--name/blobs/a.OWNER.incomplete). What has arrived is kept and the next attempt goes on from it. \`tureen cache ls\` shows what can be removed."`,
    );
    await partial.release();
    expect(await blobs()).toEqual([]);
  });

  test.each(["ENOSPC", "EDQUOT"])(
    "%s midway: what was there stays, and is gone on with",
    async (code) => {
      const other = someBytes(1000, 7);
      await keep(createDirectoryCache(root), "other", other);
      let room = 2;
      const filling = altered({
        open: (async (...args: Parameters<FileSystem["open"]>) => {
          const file = await fs.open(...args);
          const write = file.write.bind(file) as (...args: unknown[]) => unknown;
          Object.assign(file, {
            write: async (...args: unknown[]) => {
              if (room-- > 0) return write(...args);
              throw systemError(code);
            },
          });
          return file;
        }) as FileSystem["open"],
      });
      const content = someBytes(3000);
      const partial = (await createDirectoryCache(root, filling).openPartial(
        "org/name",
        "abc",
        3000,
      ))!;
      await partial.append(content.subarray(0, 1000));
      await partial.append(content.subarray(1000, 2000));
      const text = await failure(() => partial.append(content.subarray(2000)));
      expect(text).toMatch(/^SOURCE_WRITE_FAILED: the disk is full: found .*as the system says/);
      expect(text).toContain("What has arrived is kept");
      await partial.release();

      const cache = createDirectoryCache(root);
      expect((await read(cache, "other")).equals(other)).toBe(true);
      const again = (await cache.openPartial("org/name", "abc", 3000))!;
      expect(again.nBytes).toBe(2000);
      expect(Buffer.from(await again.read(0, 2000)).equals(content.subarray(0, 2000))).toBe(true);
      await again.release();
    },
  );
});

test("a cache that may not be written", async () => {
  const locked = altered({
    mkdir: (async () => {
      throw systemError("EACCES");
    }) as unknown as FileSystem["mkdir"],
  });
  const cache = createDirectoryCache(root, locked);
  expect(await failure(() => cache.writeRef("org/name", "main", COMMIT))).toMatchInlineSnapshot(
    `"SOURCE_WRITE_FAILED: the cache cannot be written: found EACCES: as the system says (CACHE/models--org--name/refs). Point HF_HUB_CACHE or the option hub.cacheDir to a folder that can be."`,
  );
});

describe("systems without links", () => {
  const refuse = async (): Promise<never> => {
    throw systemError("EPERM");
  };
  test.each<[string, Partial<FileSystem>]>([
    ["hard links instead", { symlink: refuse }],
    ["copies instead", { symlink: refuse, link: refuse }],
  ])("%s", async (_, changes) => {
    const cache = createDirectoryCache(root, altered(changes));
    const content = someBytes(5000);
    await keep(cache, "sub/a.bin", content);
    expect((await read(cache, "sub/a.bin")).equals(content)).toBe(true);
    const stat = await fs.lstat(join(root, "models--org--name/snapshots", COMMIT, "sub/a.bin"));
    expect(stat.isFile()).toBe(true);
    expect(await cache.remove("org/name", COMMIT)).toBeGreaterThanOrEqual(5000);
    expect(await cache.list()).toEqual([]);
  });
});

describe("downloads of others", () => {
  const folder = (): string => join(root, "models--org--name/blobs");

  test("one that goes on is waited for, and abort ends the wait", async () => {
    const cache = createDirectoryCache(root);
    const first = (await cache.openPartial("org/name", "abc", 4))!;
    const controller = new AbortController();
    const { signal } = controller;
    const aborted = failure(() => cache.openPartial("org/name", "abc", 4, { signal }));
    const second = cache.openPartial("org/name", "abc", 4);
    await first.append(new Uint8Array([1, 2]));
    controller.abort();
    expect(await aborted).toMatch(/^ABORTED/);
    await first.append(new Uint8Array([3, 4]));
    await first.finish();
    expect(await second).toBeUndefined();
  });

  test("one that gives up is gone on with", async () => {
    const cache = createDirectoryCache(root);
    const first = (await cache.openPartial("org/name", "abc", 4))!;
    await first.append(new Uint8Array([1, 2]));
    const second = cache.openPartial("org/name", "abc", 4);
    await first.release();
    expect((await second)?.nBytes).toBe(2);
    await (await second)?.release();
  });

  test("one of another machine is taken over once it was silent for long; the larger of two", async () => {
    await fs.mkdir(folder(), { recursive: true });
    const long = new Date(Date.now() - 60_000);
    for (const [owner, nBytes] of [
      ["elsewhere-1-x", 2],
      ["elsewhere-2-y", 3],
    ] as const) {
      const path = join(folder(), `abc.${owner}.incomplete`);
      await fs.writeFile(path, new Uint8Array(nBytes));
      await fs.utimes(path, long, long);
    }
    const cache = createDirectoryCache(root);
    const partial = (await cache.openPartial("org/name", "abc", 4))!;
    expect(partial.nBytes).toBe(3);
    expect((await blobs()).length).toBe(1);
    await partial.release();
  });

  test("a download that was taken over stops before it writes", async () => {
    const cache = createDirectoryCache(root);
    const slow = (await cache.openPartial("org/name", "abc", 4))!;
    await slow.append(new Uint8Array([1, 2]));
    const [name] = await blobs();
    await fs.rename(join(folder(), name!), join(folder(), "abc.elsewhere-1-x.incomplete"));
    expect(await failure(() => slow.append(new Uint8Array([9, 9])))).toMatchInlineSnapshot(
      `"SOURCE_WRITE_FAILED: the unfinished download was lost: found it was taken over by another process or removed (CACHE/models--org--name/blobs/abc.OWNER.incomplete). Try again: it goes on with what is there."`,
    );
    expect(await failure(() => slow.finish())).toMatch(/the unfinished download was lost/);
    await slow.release();
    const path = join(folder(), "abc.elsewhere-1-x.incomplete");
    expect([...(await fs.readFile(path))]).toEqual([1, 2]);
  });
});

describe("listing and removing", () => {
  let cache: HubCache;
  const shared = someBytes(4000);
  const first = someBytes(100, 2);
  const second = someBytes(200, 3);
  beforeEach(async () => {
    cache = createDirectoryCache(root);
    await keep(cache, "weights", shared);
    await keep(cache, "sub/config", first);
    await cache.writeRef("org/name", "main", OTHER_COMMIT);
    await cache.writeRef("org/name", "refs/pr/1", COMMIT);
    await keep(cache, "weights", shared, OTHER_COMMIT);
    await keep(cache, "config", second, OTHER_COMMIT);
    // Of other tools, and of no interest here.
    await fs.mkdir(join(root, "datasets--org--data/blobs"), { recursive: true });
    await fs.writeFile(join(root, "version.txt"), "1");
  });

  test("sizes count content once", async () => {
    const partial = (await cache.openPartial("org/name", "abc", 1000))!;
    await partial.append(someBytes(50));
    await partial.release();
    expect(await cache.list()).toEqual([
      {
        repo: "org/name",
        nBytes: 4350,
        incompleteBytes: 50,
        packedBytes: 0,
        lastUsed: expect.any(Number),
        revisions: [
          {
            commit: COMMIT,
            refs: ["refs/pr/1"],
            files: ["sub/config", "weights"],
            nBytes: 4100,
            lastUsed: expect.any(Number),
          },
          {
            commit: OTHER_COMMIT,
            refs: ["main"],
            files: ["config", "weights"],
            nBytes: 4200,
            lastUsed: expect.any(Number),
          },
        ],
      },
    ]);
  });

  test("a revision goes with what only it holds", async () => {
    expect(await cache.remove("org/name", "main")).toBe(200);
    expect(await cache.open("org/name", OTHER_COMMIT, "config")).toBeUndefined();
    expect(await cache.readRef("org/name", "main")).toBeUndefined();
    expect((await read(cache, "weights")).equals(shared)).toBe(true);
    expect((await cache.list())[0]).toMatchObject({ nBytes: 4100 });
    expect(await cache.remove("org/name", COMMIT)).toBe(4100);
    expect(await cache.list()).toEqual([]);
  });

  test("a repository goes with everything, and nothing beside it", async () => {
    expect(await cache.remove("org/name")).toBe(4300);
    expect((await fs.readdir(root)).sort()).toEqual(["datasets--org--data", "version.txt"]);
  });

  test.each([
    ["org/other", undefined],
    ["org/name", "nope"],
    ["../..", undefined],
    ["org/..", undefined],
    ["org/name/../../x", undefined],
  ])("%s %s is refused", async (repo, revision) => {
    expect(await failure(() => cache.remove(repo, revision))).toMatch(
      /^SOURCE_NOT_FOUND: .* is not in the cache/,
    );
    expect((await cache.list()).length).toBe(1);
  });

  test("a cache that does not exist is empty", async () => {
    expect(await createDirectoryCache(join(root, "none")).list()).toEqual([]);
  });
});
