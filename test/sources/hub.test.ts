// Repositories of a hub, through the cache on a disk, against a hub on loopback: what is asked for, kept, resumed and refused.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { readlink, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { openHub } from "../../src/sources/hub.ts";
import type { DownloadProgress, OpenOptions, Warning } from "../../src/sources/hub-options.ts";
import { type HubReference, parseHubReference } from "../../src/sources/hub-reference.ts";
import { openFileSet } from "../../src/sources/open.ts";
import type { FileSet } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";
import {
  COMMIT,
  etagOf,
  MockHub,
  type MockRepo,
  OTHER_COMMIT,
  someBytes,
  TOKEN,
} from "./hub-mock.ts";

const hub = new MockHub();
const weights = { content: someBytes(300_000), lfs: true };
const config = { content: new TextEncoder().encode('{"model_type":"llama"}') };
const model: MockRepo = {
  commit: COMMIT,
  files: { "config.json": config, "model.safetensors": weights, "sub/deep.json": config },
};

let cacheDir: string;
beforeAll(() => hub.start());
afterAll(() => hub.stop());
beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), "tureen-hub-"));
  // Nobody's own settings, token or cache.
  for (const name of ["HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN_PATH"]) {
    vi.stubEnv(name, "");
  }
  vi.stubEnv("HF_HOME", join(cacheDir, "home"));
  vi.stubEnv("HF_HUB_CACHE", join(cacheDir, "env-cache"));
  hub.repos.set("org/name", model);
});
afterEach(() => {
  vi.unstubAllEnvs();
  hub.reset();
  rmSync(cacheDir, { recursive: true, force: true });
});

/** Impatient, with ranges small enough that the weights need several. */
const internals = {
  transport: { delays: [5, 5, 5], patience: 300, maxRetryAfter: 500 },
  rangeBytes: 64 * 1024,
};

interface Settings extends OpenOptions {
  readonly name?: string;
}

function open({ name = "org/name", hub: more, ...options }: Settings = {}): Promise<FileSet> {
  const reference = parseHubReference(name) as HubReference;
  const settings = { endpoint: hub.endpoint, cacheDir, parallel: 2, ...more };
  return openHub(reference, { ...options, hub: settings }, internals);
}

async function read(files: FileSet, path: string): Promise<Buffer | undefined> {
  const source = await files.open(path);
  if (source === undefined) return undefined;
  try {
    return Buffer.from(await source.read(0, source.size));
  } finally {
    await source.close();
  }
}

function failure(action: () => unknown): Promise<string> {
  return failureOf(action).then((text) =>
    text
      .replaceAll(cacheDir, "CACHE")
      .replaceAll(hub.endpoint.slice(7), "HUB")
      .replaceAll(hub.cdn.slice(7), "CDN"),
  );
}

const folder = (): string => join(cacheDir, "models--org--name");
const blobs = (): string[] => readdirSync(join(folder(), "blobs")).sort();
const isContent = (seen: string): boolean => !seen.includes("/api/");

describe("the first load", () => {
  test("content arrives, in the layout of Python's tools", async () => {
    const files = await open();
    expect(files).toMatchObject({ name: "org/name", hubId: "org/name" });
    expect((await read(files, "config.json"))?.equals(config.content)).toBe(true);
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect((await read(files, "sub/deep.json"))?.equals(config.content)).toBe(true);
    expect(blobs()).toEqual([etagOf(config), etagOf(weights)].sort());
    expect(readFileSync(join(folder(), "refs/main"), "utf8")).toBe(COMMIT);
    const snapshot = join(folder(), "snapshots", COMMIT);
    expect(await readlink(join(snapshot, "model.safetensors"))).toBe(
      `../../blobs/${etagOf(weights)}`,
    );
    expect(await readlink(join(snapshot, "sub/deep.json"))).toBe(
      `../../../blobs/${etagOf(config)}`,
    );
  });

  test("asks once for the revision, and for each content once, in ranges", async () => {
    const files = await open();
    await read(files, "config.json");
    await read(files, "model.safetensors");
    await read(files, "sub/deep.json");
    const taken = hub.take();
    expect(taken[0]).toBe("hub GET /api/models/org/name/revision/main?blobs=true");
    expect(taken[1]).toBe(`hub GET /org/name/resolve/${COMMIT}/config.json`);
    const ranges = taken.filter((line) => line.startsWith("cdn")).map((line) => line.split(" ")[3]);
    expect(ranges.sort()).toEqual([
      "bytes=0-65535",
      "bytes=131072-196607",
      "bytes=196608-262143",
      "bytes=262144-299999",
      "bytes=65536-131071",
    ]);
    expect(hub.sent).toBe(config.content.length + weights.content.length);
  });

  test("the token goes to the hub only", async () => {
    hub.repos.set("org/name", { ...model, access: "private" });
    const files = await open({ hub: { token: TOKEN } });
    await read(files, "model.safetensors");
    const onHub = hub.seen.filter(({ host }) => host === "hub");
    const onCdn = hub.seen.filter(({ host }) => host === "cdn");
    expect(new Set(onHub.map(({ authorization }) => authorization))).toEqual(
      new Set([`Bearer ${TOKEN}`]),
    );
    expect(onCdn.length).toBe(5);
    expect(onCdn.every(({ authorization }) => authorization === undefined)).toBe(true);
  });

  test("a file that is not there is undefined, and never asked for again", async () => {
    expect(await (await open()).open("tokenizer.json")).toBeUndefined();
    expect(existsSync(join(folder(), ".no_exist", COMMIT, "tokenizer.json"))).toBe(true);
    expect(hub.take().filter(isContent)).toEqual([]);
    expect(await (await open({ hub: { offline: true } })).open("tokenizer.json")).toBeUndefined();
  });

  test("empty files", async () => {
    hub.repos.set("org/name", {
      commit: COMMIT,
      files: { "a.txt": { content: new Uint8Array(0) } },
    });
    expect((await read(await open(), "a.txt"))?.length).toBe(0);
  });

  test("a mirror whose listing has names only: sizes and hashes from headers", async () => {
    hub.repos.set("org/name", { ...model, bareListing: true });
    const files = await open();
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect((await read(files, "config.json"))?.equals(config.content)).toBe(true);
    expect(blobs()).toEqual([etagOf(config), etagOf(weights)].sort());
  });

  test("folders, revisions", async () => {
    hub.repos.set("org/name", { ...model, refs: ["main", "v1/x"] });
    const sub = await open({ name: "hf://org/name@v1%2Fx/sub" });
    expect(sub.name).toBe("org/name@v1/x/sub");
    expect((await read(sub, "deep.json"))?.equals(config.content)).toBe(true);
    expect(readFileSync(join(folder(), "refs/v1/x"), "utf8")).toBe(COMMIT);
  });

  test("progress: bytes, total over all shards, rate, time left", async () => {
    const shard = (seed: number) => ({ content: someBytes(100_000, seed), lfs: true });
    const files = {
      "model-00001-of-00002.safetensors": shard(1),
      "model-00002-of-00002.safetensors": shard(2),
    };
    hub.repos.set("org/name", { commit: COMMIT, files });
    const progress: DownloadProgress[] = [];
    const opened = await open({ onDownload: (report) => progress.push(report) });
    for (const path of Object.keys(files)) await read(opened, path);
    expect(new Set(progress.map(({ bytesTotal }) => bytesTotal))).toEqual(new Set([200_000]));
    const done = progress.map(({ bytesDone }) => bytesDone);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(progress.at(-1)).toMatchObject({
      file: "model-00002-of-00002.safetensors",
      bytesDone: 200_000,
      secondsLeft: 0,
    });
    expect(progress.at(-1)!.bytesPerSecond).toBeGreaterThan(0);
  });

  test("without a cache, reads are ranges and nothing is kept", async () => {
    const files = await open({ hub: { cache: "none" } });
    const source = (await files.open("model.safetensors"))!;
    expect([...(await source.read(100_000, 4))]).toEqual([
      ...weights.content.subarray(100_000, 100_004),
    ]);
    expect(hub.take().at(-1)).toMatch(/^cdn GET .* bytes=100000-100003$/);
    expect(hub.sent).toBe(4);
    expect(existsSync(folder())).toBe(false);
  });
});

describe("later loads", () => {
  beforeEach(async () => {
    const files = await open();
    for (const path of Object.keys(model.files)) await read(files, path);
    hub.take();
  });

  test("ask for the revision and nothing else", async () => {
    const files = await open();
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.take()).toEqual(["hub GET /api/models/org/name/revision/main?blobs=true"]);
  });

  test("by commit, or offline, ask for nothing", async () => {
    for (const settings of [{ name: `org/name@${COMMIT}` }, { hub: { offline: true } }]) {
      const files = await open(settings);
      expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    }
    expect(hub.take()).toEqual([]);
  });

  test("HF_HUB_OFFLINE, HF_HUB_CACHE, HF_HOME", async () => {
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    vi.stubEnv("HF_HUB_CACHE", cacheDir);
    expect(await read(await openFileSet("org/name"), "config.json")).toBeDefined();
    vi.stubEnv("HF_HUB_CACHE", "");
    expect(await failure(() => openFileSet("org/name"))).toMatchInlineSnapshot(
      `"SOURCE_NOT_FOUND: org/name@main is not in the cache: expected files of an earlier download, since the hub is not to be asked (offline) (CACHE/home/hub). Load it once without HF_HUB_OFFLINE and the option hub.offline. There is no local folder org/name either."`,
    );
    expect(hub.take()).toEqual([]);
  });

  test("a new revision fetches what changed, and the old one stays", async () => {
    const changed = { content: new TextEncoder().encode("{}") };
    const files = { ...model.files, "config.json": changed };
    hub.repos.set("org/name", { commit: OTHER_COMMIT, files });
    hub.sent = 0;
    const opened = await open();
    expect((await read(opened, "config.json"))?.toString()).toBe("{}");
    expect((await read(opened, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(2);
    const old = await open({ name: `org/name@${COMMIT}` });
    expect((await read(old, "config.json"))?.equals(config.content)).toBe(true);
  });

  test.each([
    ["the hub is down", 503],
    ["the token is missing", 401],
  ])("%s: the cached revision, with a warning", async (_, status) => {
    hub.intercept = (_, response) => {
      response.writeHead(status).end();
      return true;
    };
    const warnings: Warning[] = [];
    const files = await open({ onWarning: (warning) => warnings.push(warning) });
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(warnings).toEqual([
      { code: "HUB_UNREACHABLE", message: expect.stringContaining("using the cached revision") },
    ]);
  });

  test("content that went missing is fetched again", async () => {
    rmSync(join(folder(), "blobs", etagOf(weights)));
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
  });
});

describe("what Python's tools left", () => {
  test("is found offline", async () => {
    // As huggingface_hub writes it.
    const snapshot = join(folder(), "snapshots", COMMIT);
    mkdirSync(join(folder(), "refs"), { recursive: true });
    mkdirSync(snapshot, { recursive: true });
    await writeFile(join(folder(), "refs/main"), COMMIT);
    await writeFile(join(snapshot, "config.json"), config.content);
    const files = await open({ hub: { offline: true } });
    expect((await read(files, "config.json"))?.equals(config.content)).toBe(true);
    expect(await files.open("generation_config.json")).toBeUndefined();
    expect(hub.take()).toEqual([]);
    const direct = await openFileSet(snapshot);
    expect(direct.hubId).toBe("org/name");
  });

  test("an unfinished download is gone on with, and left where it is", async () => {
    mkdirSync(join(folder(), "blobs"), { recursive: true });
    const python = join(folder(), "blobs", `${etagOf(weights)}.incomplete`);
    await writeFile(python, weights.content.subarray(0, 200_000));
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(100_000);
    expect((await stat(python)).size).toBe(200_000);
  });
});

describe("bad networks", () => {
  /** Sends so many bytes of a range, then cuts the connection. */
  function cutAfter(nBytes: number, times: number): void {
    hub.intercept = ({ host, range }, response) => {
      if (host !== "cdn" || times-- <= 0) return false;
      const [start, end] = /(\d+)-(\d+)/.exec(range!)!.slice(1).map(Number) as [number, number];
      const headers = {
        "content-range": `bytes ${start}-${end}/${weights.content.length}`,
        "content-length": end - start + 1,
      };
      response.writeHead(206, headers);
      response.write(weights.content.subarray(start, start + nBytes), () => response.destroy());
      return true;
    };
  }

  test("a cut connection is resumed from the byte where it was cut", async () => {
    cutAfter(1000, 1);
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.take().filter((line) => line.endsWith("bytes=1000-65535")).length).toBe(1);
  });

  test("progress starts the count of attempts again", async () => {
    cutAfter(10_000, 20);
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
  });

  test("silence ends in another attempt", async () => {
    let isFirst = true;
    hub.intercept = ({ host }, response) => {
      if (host !== "cdn" || !isFirst) return false;
      isFirst = false;
      response.writeHead(206, { "content-length": 65536 }).flushHeaders();
      return true;
    };
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
  });

  test("a slow server is waited for", async () => {
    hub.intercept = ({ host, range }, response) => {
      if (host !== "cdn" || !range?.startsWith("bytes=0-")) return false;
      response.writeHead(206, { "content-length": 65536 });
      let sent = 0;
      const timer = setInterval(() => {
        response.write(weights.content.subarray(sent, sent + 8192));
        sent += 8192;
        if (sent < 65536) return;
        clearInterval(timer);
        response.end();
      }, 100); // in all longer than the patience for silence
      return true;
    };
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
  });

  test("429 and its Retry-After", async () => {
    let refused: number | undefined;
    let retried: number | undefined;
    hub.intercept = ({ host, range }, response) => {
      if (host !== "cdn" || range !== "bytes=0-65535") return false;
      retried ??= refused && performance.now() - refused;
      if (refused !== undefined) return false;
      refused = performance.now();
      response.writeHead(429, { "retry-after": new Date(Date.now() + 1400).toUTCString() }).end();
      return true;
    };
    const patient = { ...internals, transport: { delays: [5, 5], maxRetryAfter: 5000 } };
    const settings = { hub: { endpoint: hub.endpoint, cacheDir } };
    const files = await openHub(parseHubReference("org/name")!, settings, patient);
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    // A date has whole seconds: of 1400 ms at least 400 are left.
    expect(retried).toBeGreaterThan(350);
  });

  test("addresses of the CDN expire", async () => {
    let expired = false;
    hub.intercept = ({ host }, response) => {
      if (host !== "cdn" || expired || hub.sent < 100_000) return false;
      expired = true;
      response.writeHead(403).end();
      return true;
    };
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(expired).toBe(true);
  });

  test("damage on the way is noticed, and nothing of it is kept", async () => {
    hub.intercept = ({ host, range }, response) => {
      if (host !== "cdn" || range !== "bytes=65536-131071") return false;
      const part = weights.content.slice(65536, 131072);
      part[5]! ^= 1;
      response.writeHead(206, { "content-length": part.length }).end(part);
      return true;
    };
    const files = await open();
    expect(await failure(() => read(files, "model.safetensors"))).toMatch(
      /^SOURCE_READ_FAILED: the content is not what the hub promised: expected sha256 \w{64}, found \w{64} \(HUB: org/,
    );
    expect(blobs()).toEqual([]);
    hub.intercept = () => false;
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
  });

  test("a small file is checked by git's hash", async () => {
    hub.intercept = ({ url }, response) => {
      if (!url.includes("/resolve/")) return false;
      response.end('{"model_type":"lhama"}');
      return true;
    };
    const files = await open();
    expect(await failure(() => read(files, "config.json"))).toMatch(/expected sha1 \w{40}/);
  });

  test.each<[string, number, Record<string, string>, string]>([
    ["a server that ignores ranges", 200, {}, "the hub ignores range requests"],
    ["another range", 206, { "content-range": "bytes 5-9/300000" }, "the hub sent another range"],
    ["a redirect to nowhere", 302, { location: "ftp://x/y" }, "redirects to an unsafe address"],
    ["forever limited", 429, {}, "the hub limits the rate of requests"],
    ["limited for long", 429, { "retry-after": "900" }, "Try again in 900 s"],
    ["broken", 500, {}, "the hub has a problem"],
  ])("%s", async (_, status, headers, message) => {
    const files = await open();
    hub.intercept = (_, response) => {
      response.writeHead(status, headers).end("x");
      return true;
    };
    const text = await failure(() => read(files, "model.safetensors"));
    expect(text).toMatch(/^SOURCE_READ_FAILED/);
    expect(text).toContain(message);
    hub.intercept = () => false;
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
  });

  test("redirects in circles", async () => {
    hub.intercept = ({ url }, response) => {
      response.writeHead(302, { location: url }).end();
      return true;
    };
    expect(await failure(() => open())).toMatch(/the hub redirects in circles/);
  });

  test("abort, and go on later", async () => {
    const files = await open();
    const controller = new AbortController();
    let ranges = 0;
    hub.intercept = ({ host }) => {
      if (host === "cdn" && ++ranges === 4) controller.abort();
      return false;
    };
    const { signal } = controller;
    expect(await failure(() => files.open("model.safetensors", { signal }))).toMatch(/^ABORTED/);
    const kept = blobs();
    expect(kept).toEqual([expect.stringMatching(/^\w{64}\.\w+-\d+-\w+\.incomplete$/)]);
    const { size } = await stat(join(folder(), "blobs", kept[0]!));
    expect(size).toBeGreaterThan(0);
    hub.intercept = () => false;
    hub.sent = 0;
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(weights.content.length - size);
    expect(blobs()).toEqual([etagOf(weights)]);
  });
});

describe("refusals say what to do", () => {
  const message = (settings: Settings, path = "model.safetensors"): Promise<string> =>
    failure(async () => read(await open(settings), path));

  test("gated, private, missing", async () => {
    hub.repos.set("org/gated", { ...model, access: "gated" });
    hub.repos.set("org/private", { ...model, access: "private" });
    expect({
      gated: await message({ name: "org/gated" }),
      "gated, wrong token": await message({ name: "org/gated", hub: { token: "hf_other" } }),
      private: await message({ name: "org/private" }),
      missing: await message({ name: "org/missing" }),
      revision: await message({ name: "org/name@nope" }),
      offline: await message({ name: "org/name", hub: { offline: true } }),
      "no such server": (await message({ hub: { endpoint: "http://127.0.0.1:9" } })).replace(
        /: the request failed:.*/,
        "",
      ),
      "no endpoint": await message({ hub: { endpoint: "nowhere" } }),
    }).toMatchInlineSnapshot(`
      {
        "gated": "SOURCE_READ_FAILED: access to org/gated is refused: expected status 200 or 206, found status 401, GatedRepo (HUB: org/gated@c0ffee0000000000000000000000000000000000/model.safetensors). It may be gated: accept its terms on its page at the hub, and give a token that may read it (HF_TOKEN, or the option hub.token).",
        "gated, wrong token": "SOURCE_READ_FAILED: access to org/gated is refused: expected status 200 or 206, found status 403, GatedRepo (HUB: org/gated@c0ffee0000000000000000000000000000000000/model.safetensors). It may be gated: accept its terms on its page at the hub, and give a token that may read it (HF_TOKEN, or the option hub.token).",
        "missing": "SOURCE_READ_FAILED: org/missing is private, gated, or does not exist: expected status 200 or 206, found status 401, RepoNotFound (HUB: org/missing@main). Check the name. If it is right, give a token that may read it (HF_TOKEN, or the option hub.token).",
        "no endpoint": "OPTION_INVALID: the hub's endpoint is not usable: expected an http(s) URL, found "nowhere" (HF_ENDPOINT or the option endpoint)",
        "no such server": "SOURCE_READ_FAILED",
        "offline": "SOURCE_NOT_FOUND: org/name@main is not in the cache: expected files of an earlier download, since the hub is not to be asked (offline) (CACHE). Load it once without HF_HUB_OFFLINE and the option hub.offline.",
        "private": "SOURCE_READ_FAILED: org/private is private, gated, or does not exist: expected status 200 or 206, found status 401, RepoNotFound (HUB: org/private@main). Check the name. If it is right, give a token that may read it (HF_TOKEN, or the option hub.token).",
        "revision": "SOURCE_NOT_FOUND: org/name has no such revision: expected status 200 or 206, found status 404, RevisionNotFound (HUB: org/name@nope). Check the name and revision. Private repositories need a token that may read them.",
      }
    `);
  });

  test("a name that may have been meant as a path", async () => {
    const options = { hub: { endpoint: hub.endpoint, cacheDir } };
    expect(await failure(() => openFileSet("org/missing", options))).toMatch(
      /^SOURCE_READ_FAILED: .*There is no local folder org\/missing either\.$/,
    );
  });

  test("tokens never show in messages", async () => {
    const text = await message({ name: "org/missing", hub: { token: TOKEN } });
    expect(text).not.toContain(TOKEN);
  });

  test.each([
    ["not JSON", "<html>"],
    ["no commit", "{}"],
    ["a commit that is a path", JSON.stringify({ sha: "../../x" })],
    ["files without names", JSON.stringify({ sha: COMMIT, siblings: [{}] })],
  ])("a description that is %s", async (_, body) => {
    hub.intercept = (_, response) => {
      response.end(body);
      return true;
    };
    expect(await failure(() => open())).toMatch(
      /^FORMAT_INVALID: the hub's description of the repository cannot be read/,
    );
  });

  test.each(["../up", "a\u0000b", "x".repeat(200)])("an etag that is no name: %j", async (etag) => {
    hub.intercept = ({ url }, response) => {
      if (!url.startsWith("/api/")) return false;
      const siblings = [{ rfilename: "a", size: 3, blobId: etag }];
      response.end(JSON.stringify({ sha: COMMIT, siblings }));
      return true;
    };
    expect(await message({}, "a")).toMatch(/^SOURCE_READ_FAILED: the hub does not tell the hash/);
  });

  test("an etag that is no hash: checked for size, with a warning", async () => {
    hub.intercept = ({ url }, response) => {
      if (url.startsWith("/api/")) {
        const siblings = [{ rfilename: "a", size: 3, blobId: "mark-1" }];
        response.end(JSON.stringify({ sha: COMMIT, siblings }));
      } else {
        response.end("abc");
      }
      return true;
    };
    const warnings: string[] = [];
    const files = await open({ onWarning: ({ code }) => warnings.push(code) });
    expect((await read(files, "a"))?.toString()).toBe("abc");
    expect(warnings).toEqual(["HUB_UNVERIFIED"]);
  });
});

describe("several at once", () => {
  test("loaders in one process download once", async () => {
    const all = await Promise.all(
      [0, 1, 2, 3].map(async () => read(await open(), "model.safetensors")),
    );
    for (const content of all) expect(content?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(weights.content.length);
    expect(blobs()).toEqual([etagOf(weights)]);
  });

  /** Loads in another process, from bundled sources, since Node 20 runs no TypeScript. Ends with its exit code. */
  async function loadElsewhere(): Promise<{ code: Promise<number | null>; kill(): void }> {
    const bundle = join(cacheDir, "bundle");
    if (!existsSync(bundle)) {
      await build({
        configFile: false,
        logLevel: "silent",
        ssr: { noExternal: true },
        build: {
          ssr: join(import.meta.dirname, "../../src/sources/hub.ts"),
          outDir: bundle,
          rollupOptions: { output: { entryFileNames: "hub.mjs" } },
        },
      });
    }
    const settings = { hub: { endpoint: hub.endpoint, cacheDir, parallel: 1 } };
    const program = `
      const { openHub } = await import(${JSON.stringify(pathToFileURL(join(bundle, "hub.mjs")))});
      const reference = ${JSON.stringify(parseHubReference("org/name"))};
      const internals = { rangeBytes: 65536, transport: { delays: [10, 10] } };
      const files = await openHub(reference, ${JSON.stringify(settings)}, internals);
      const source = await files.open("model.safetensors");
      if (source.size !== ${weights.content.length}) process.exit(3);`;
    const args = ["--input-type=module", "-e", program];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
    const code = new Promise<number | null>((resolve) => child.on("exit", resolve));
    return { code, kill: () => child.kill("SIGKILL") };
  }

  test("processes leave one good blob", async () => {
    const first = await loadElsewhere();
    const rest = await Promise.all([loadElsewhere(), loadElsewhere()]);
    const codes = await Promise.all([first, ...rest].map(({ code }) => code));
    expect(codes).toEqual([0, 0, 0]);
    expect(blobs()).toEqual([etagOf(weights)]);
    expect(
      (await read(await open({ hub: { offline: true } }), "model.safetensors"))?.equals(
        weights.content,
      ),
    ).toBe(true);
  });

  test("killed midway, the next load goes on at once", async () => {
    let stall = (): void => {};
    const stalled = new Promise<void>((resolve) => {
      stall = resolve;
    });
    let ranges = 0;
    hub.intercept = ({ host }) => {
      if (host !== "cdn" || ++ranges < 4) return false;
      stall();
      return true; // never answered
    };
    const victim = await loadElsewhere();
    await stalled;
    victim.kill();
    expect(await victim.code).toBeNull();
    expect(blobs()).toEqual([expect.stringMatching(/\.incomplete$/)]);
    hub.intercept = () => false;
    hub.sent = 0;
    const start = performance.now();
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(weights.content.length - 3 * 65536);
    expect(performance.now() - start).toBeLessThan(5000);
    expect(blobs()).toEqual([etagOf(weights)]);
  });
});
