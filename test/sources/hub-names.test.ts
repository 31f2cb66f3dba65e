// Names of repositories, what the environment says, and comparing an adapter's base with the one that is loaded.
import { describe, expect, test } from "vitest";
import { findOtherBase } from "../../src/adapters/base-name.ts";
import { readHubEnvironment } from "../../src/sources/hub-environment.ts";
import { DownloadMeter } from "../../src/sources/hub-meter.ts";
import type { DownloadProgress } from "../../src/sources/hub-options.ts";
import { parseHubReference } from "../../src/sources/hub-reference.ts";
import { parseRetryAfter } from "../../src/sources/hub-transport.ts";
import { failureOf } from "../formats/failure.ts";

describe("names of repositories", () => {
  test.each([
    ["org/name", "org/name", "main", ""],
    ["Org-1/na.me_2", "Org-1/na.me_2", "main", ""],
    ["org/name@v1.0", "org/name", "v1.0", ""],
    ["org/name@refs/pr/1", "org/name", "refs/pr/1", ""],
    ["hf://org/name", "org/name", "main", ""],
    ["hf://gpt2", "gpt2", "main", ""],
    ["HF://org/name@v1", "org/name", "v1", ""],
    ["hf://org/name@refs%2Fpr%2F1/a/b/", "org/name", "refs/pr/1", "a/b"],
    ["hf://org/name/a", "org/name", "main", "a"],
  ])("%s", (text, repo, revision, folder) => {
    expect(parseHubReference(text)).toEqual({ repo, revision, folder });
  });

  test.each([
    "name",
    "./org/name",
    "../name",
    "/org/name",
    "org/name/x",
    "~/name",
    "C:\\models\\x",
    "org/",
    "a b/c",
  ])("%s is a path", (text) => {
    expect(parseHubReference(text)).toBeUndefined();
  });

  test.each([
    "hf://",
    "hf:///x",
    "hf://org/name/../x",
    "hf://org/name@..%2F..",
    "hf://org/name@%zz",
    "org/name@../../x",
    "org/name@/etc",
    "org/na--me",
  ])("%s is refused", async (text) => {
    expect(await failureOf(() => parseHubReference(text))).toMatch(/^OPTION_INVALID/);
  });
});

describe("the environment", () => {
  test.each<[Record<string, string>, string | undefined]>([
    [{ HOME: "/h" }, "/h/.cache/huggingface/hub"],
    [{ HOME: "/h", XDG_CACHE_HOME: "/x" }, "/x/huggingface/hub"],
    [{ HOME: "/h", HF_HOME: "/hf" }, "/hf/hub"],
    [{ HOME: "/h", HF_HOME: "~/hf" }, "/h/hf/hub"],
    [{ HOME: "/h", HF_HOME: "/hf", HF_HUB_CACHE: "/c" }, "/c"],
    [{ HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }, "/old"],
    [{ HOME: "/h", HF_HUB_CACHE: " " }, "/h/.cache/huggingface/hub"],
    [{}, undefined],
  ])("%j: the cache is %s", (variables, cacheDir) => {
    expect(readHubEnvironment(variables).cacheDir).toBe(cacheDir);
  });

  test.each<[Record<string, string>, string | undefined]>([
    [{ HOME: "/h" }, "/h/.cache/tureen"],
    [{ HOME: "/h", XDG_CACHE_HOME: "/x", HF_HOME: "/hf" }, "/x/tureen"],
    [{ HOME: "/h", XDG_CACHE_HOME: "/x", TUREEN_CACHE: "~/t" }, "/h/t"],
    [{ TUREEN_CACHE: "/t" }, "/t"],
    [{}, undefined],
  ])("%j: what is packed is kept in %s", (variables, ownCacheDir) => {
    expect(readHubEnvironment(variables).ownCacheDir).toBe(ownCacheDir);
  });

  test.each([
    ["1", true],
    ["ON", true],
    ["yes", true],
    ["True", true],
    ["0", false],
    ["", false],
  ])("HF_HUB_OFFLINE=%s: %s", (HF_HUB_OFFLINE, offline) => {
    expect(readHubEnvironment({ HF_HUB_OFFLINE }).offline).toBe(offline);
  });

  test("a host that refuses to tell has none", () => {
    const secret = new Proxy(
      {},
      {
        get() {
          throw new Error("needs --allow-env");
        },
      },
    );
    expect(readHubEnvironment(secret)).toEqual({
      endpoint: undefined,
      token: undefined,
      offline: false,
      cacheDir: undefined,
      tokenFile: undefined,
    });
  });
});

describe("the base that an adapter names", () => {
  test.each([
    ["org/name", "org/name", false],
    ["Org/Name", "org/name", false],
    ["org/other", "org/name", true],
    ["mirror/name", "org/name", true],
    ["/data/models/name", "org/name", false],
    ["/data/models/other/", "org/name", true],
    ["C:\\models\\name", "org/name", false],
    ["/x/models--org--name/snapshots/abc", "other/name", true],
    ["/x/models--org--name/snapshots/abc", "org/name", false],
    ["../base", "org/name", false],
    ["", "org/name", false],
    [undefined, "org/name", false],
    ["org/other", undefined, false],
  ])("%s beside %s: differs: %s", (named, loaded, differs) => {
    expect(findOtherBase(named, loaded) !== undefined).toBe(differs);
  });
});

test("progress: the rate is that of the last seconds, resumed bytes do not count", () => {
  let now = 0;
  const reports: DownloadProgress[] = [];
  const meter = new DownloadMeter(
    (report) => reports.push(report),
    () => now,
  );
  meter.expect(10_000);
  meter.add("a", 4000, true);
  expect(reports.at(-1)).toMatchObject({
    bytesDone: 4000,
    bytesPerSecond: 0,
    secondsLeft: undefined,
  });
  for (let i = 0; i < 20; i++) {
    now += 500;
    meter.add("a", i < 10 ? 50 : 250, false); // 100 B/s, then 500 B/s
  }
  expect(reports.at(-1)).toMatchObject({
    bytesDone: 7000,
    bytesTotal: 10_000,
    bytesPerSecond: 500,
  });
  expect(reports.at(-1)?.secondsLeft).toBeCloseTo(6, 10);
  const count = reports.length;
  now += 10;
  meter.add("a", 1, false);
  expect(reports.length).toBe(count); // too soon
});

test("Retry-After", () => {
  expect(parseRetryAfter(null)).toBeUndefined();
  expect(parseRetryAfter("7")).toBe(7000);
  expect(parseRetryAfter("soon")).toBeUndefined();
  const inTenSeconds = new Date(Date.now() + 10_000).toUTCString();
  expect(parseRetryAfter(inTenSeconds)).toBeGreaterThan(8000);
  expect(parseRetryAfter("Thu, 01 Jan 1970 00:00:00 GMT")).toBe(0);
});
