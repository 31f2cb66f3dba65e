// Repositories of a hub, through the cache on a disk, against a hub on loopback: what is asked for, kept and refused.
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { readlink, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import type { DownloadProgress, Warning } from "../../src/sources/hub-options.ts";
import { openFileSet } from "../../src/sources/open.ts";
import {
  blobs,
  cacheDir,
  config,
  failure,
  folder,
  hub,
  model,
  open,
  read,
  type Settings,
  useHub,
  weights,
} from "./hub-fixture.ts";
import { COMMIT, etagOf, OTHER_COMMIT, someBytes, TOKEN } from "./hub-mock.ts";

useHub();

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

  test("keep: false reads by range what is not in the cache", async () => {
    await read(await open(), "config.json");
    hub.sent = 0;
    const files = await open({ hub: { keep: false } });
    expect((await read(files, "config.json"))?.equals(config.content)).toBe(true);
    expect(hub.sent).toBe(0);
    const source = (await files.open("model.safetensors"))!;
    expect([...(await source.read(9, 2))]).toEqual([...weights.content.subarray(9, 11)]);
    expect(await files.open("none")).toBeUndefined();
    expect(hub.take().at(-1)).toMatch(/^cdn GET .* bytes=0-262143$/);
    expect(hub.sent).toBe(262_144);
    expect(blobs()).toEqual([etagOf(config)]);
  });

  test("whose token goes where", async () => {
    const sent = async (more: Settings["hub"]): Promise<(string | undefined)[]> => {
      hub.seen.length = 0;
      await open({ hub: more });
      return hub.seen.map(({ authorization }) => authorization);
    };
    mkdirSync(join(cacheDir(), "home"));
    await writeFile(join(cacheDir(), "home/token"), "hf_stored\n");
    expect(await sent({})).toEqual([undefined]); // not the hub that the person logged in to
    expect(await sent({ token: "hf_own" })).toEqual(["Bearer hf_own"]);
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    expect(await sent({})).toEqual(["Bearer hf_stored"]);
    vi.stubEnv("HF_TOKEN", "hf_env");
    expect(await sent({})).toEqual(["Bearer hf_env"]);
    expect(await sent({ token: "" })).toEqual([undefined]);
  });

  test("without a cache, reads are ranges and nothing is kept", async () => {
    const files = await open({ hub: { cache: "none" } });
    const source = (await files.open("model.safetensors"))!;
    expect([...(await source.read(100_000, 4))]).toEqual([
      ...weights.content.subarray(100_000, 100_004),
    ]);
    expect(hub.take().at(-1)).toMatch(/^cdn GET .* bytes=0-262143$/);
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
    vi.stubEnv("HF_HUB_CACHE", cacheDir());
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

  test("an unfinished download that is damaged is fetched anew, once", async () => {
    mkdirSync(join(folder(), "blobs"), { recursive: true });
    const damaged = weights.content.slice(0, 200_000);
    damaged[7]! ^= 1;
    await writeFile(join(folder(), "blobs", `${etagOf(weights)}.incomplete`), damaged);
    const done: number[] = [];
    const files = await open({ onDownload: ({ bytesDone }) => done.push(bytesDone) });
    expect((await read(files, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(hub.sent).toBe(100_000 + weights.content.length);
    expect(done.at(-1)).toBe(weights.content.length);
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
    const options = { hub: { endpoint: hub.endpoint, cacheDir: cacheDir() } };
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

describe("a limit for the cache", () => {
  const other = {
    ...model,
    files: { "model.safetensors": { ...weights, content: someBytes(200_000, 9) } },
  };

  test("makes room before a download, and says so where there is none", async () => {
    hub.repos.set("org/other", other);
    await read(await open({ name: "org/other" }), "model.safetensors");
    const limited = await open({ hub: { cacheLimit: 400_000 } });
    // What was used just now is in use.
    expect(await failure(() => read(limited, "model.safetensors"))).toMatchInlineSnapshot(
      `"SOURCE_WRITE_FAILED: the limit of the cache leaves no room: expected at most 400000 bytes, found 300000 to come, beside 200000 in use (CACHE). Raise the option hub.cacheLimit, or read without a cache: hub.cache = "none"."`,
    );
    const blob = join(
      cacheDir(),
      "models--org--other/blobs",
      etagOf(other.files["model.safetensors"]),
    );
    await utimes(blob, 1, 1);
    expect((await read(limited, "model.safetensors"))?.equals(weights.content)).toBe(true);
    expect(existsSync(blob)).toBe(false);
    const none = await open({ name: "org/other", hub: { cacheLimit: 100_000 } });
    expect(await failure(() => read(none, "model.safetensors"))).toMatch(/^SOURCE_WRITE_FAILED/);
  });
});
