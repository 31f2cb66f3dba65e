// Keeping a cache below a size: what goes, what stays, and in which order; on a disk and in a browser's storage alike.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  createLocalLocks,
  createResponseStore,
} from "../../../src/sources/cache/browser-stores.ts";
import type { HubCache } from "../../../src/sources/cache/cache.ts";
import { createDirectoryCache } from "../../../src/sources/cache/directory-cache.ts";
import { createPartsCache } from "../../../src/sources/cache/parts-cache.ts";
import { failureOf } from "../../formats/failure.ts";
import { COMMIT, OTHER_COMMIT, someBytes } from "../hub-mock.ts";

const HOUR = 3_600_000;
let root: string;

/** Stored responses by address. */
function memoryStore() {
  const pieces = new Map<string, Uint8Array<ArrayBuffer>>();
  return createResponseStore({
    match: async (url) => (pieces.has(url) ? new Response(pieces.get(url)) : undefined),
    put: async (url, response) => {
      pieces.set(url, new Uint8Array(await response.arrayBuffer()));
    },
    delete: async (url) => pieces.delete(url),
    keys: async () => [...pieces.keys()].map((url) => ({ url })),
  });
}

const CACHES = [
  { name: "a disk", create: () => createDirectoryCache(root) },
  {
    name: "a browser's storage",
    create: () =>
      createPartsCache({ store: memoryStore(), locks: createLocalLocks(), partBytes: 1000 }),
  },
];

/** Downloads 1000 bytes that no other repository has, and opens them once. */
async function keep(cache: HubCache, repo: string, commit = COMMIT): Promise<void> {
  const seed = createHash("sha1")
    .update(repo + commit)
    .digest()
    .readUInt32LE();
  const content = someBytes(1000, seed);
  const etag = createHash("sha256").update(content).digest("hex");
  const partial = await cache.openPartial(repo, etag, content.length);
  await partial?.append(content);
  await partial?.finish();
  await cache.link(repo, commit, "weights", etag, content.length);
  await (await cache.open(repo, commit, "weights"))!.close();
}

const names = async (cache: HubCache) => (await cache.list()).map(({ repo }) => repo);

describe.each(CACHES)("$name", ({ create }) => {
  let cache: HubCache;
  let now: number;
  /** Later, as all clocks see it. */
  const wait = (ms: number): void => {
    now += ms;
    vi.setSystemTime(now);
  };

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "tureen-trim-"));
    vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
    // Files get their first times from the system's own clock, which the fake one must not lag behind.
    now = performance.timeOrigin + performance.now();
    vi.setSystemTime(now);
    cache = create();
  });
  afterEach(() => {
    vi.useRealTimers();
    rmSync(root, { recursive: true, force: true });
  });

  test("what was used longest ago goes first, and no more than needed", async () => {
    for (const repo of ["org/a", "org/b", "org/c"]) {
      wait(HOUR);
      await keep(cache, repo);
    }
    wait(HOUR);
    await (await cache.open("org/a", COMMIT, "weights"))!.close(); // now the youngest
    wait(HOUR);
    expect(await cache.trim(3000)).toEqual({ nBytes: 3000, freed: 0, removed: [] });
    expect(await cache.trim(2999)).toEqual({
      nBytes: 2000,
      freed: 1000,
      removed: [{ repo: "org/b", commit: COMMIT }],
    });
    expect(await names(cache)).toEqual(["org/a", "org/c"]);
    expect((await cache.trim(1)).removed.map(({ repo }) => repo)).toEqual(["org/c", "org/a"]);
    expect(await cache.list()).toEqual([]);
  });

  test("an old revision goes before the newer one of the same repository", async () => {
    await keep(cache, "org/a");
    wait(HOUR);
    await keep(cache, "org/a", OTHER_COMMIT);
    wait(HOUR);
    expect((await cache.trim(1000)).removed).toEqual([{ repo: "org/a", commit: COMMIT }]);
    expect((await cache.list())[0]?.revisions.map(({ commit }) => commit)).toEqual([OTHER_COMMIT]);
  });

  test("what is open stays, however long; what was just used stays for five minutes", async () => {
    await keep(cache, "org/a");
    const source = (await cache.open("org/a", COMMIT, "weights"))!;
    wait(HOUR);
    await vi.advanceTimersByTimeAsync(61_000); // the mark of each minute
    now += 61_000;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await keep(cache, "org/b");
    expect(await cache.trim(0)).toEqual({ nBytes: 2000, freed: 0, removed: [] });
    expect(await source.read(0, 1000)).toHaveLength(1000);
    await source.close();
    wait(6 * 60_000);
    expect((await cache.trim(0)).removed.length).toBe(2);
  });

  test("a download that goes on stays, one that was given up goes", async () => {
    const etag = "ab".repeat(32);
    const partial = (await cache.openPartial("org/a", etag, 3000))!;
    await partial.append(someBytes(2000));
    expect((await cache.trim(0)).removed).toEqual([]);
    await partial.release();
    wait(HOUR);
    expect(await cache.trim(0)).toEqual({
      nBytes: 0,
      freed: 2000,
      removed: [{ repo: "org/a", commit: undefined }],
    });
  });

  test("a limit that is none", async () => {
    expect(await failureOf(() => cache.trim(Number.NaN))).toMatch(/^OPTION_INVALID/);
  });
});
