// Downloads from a hub over bad networks: cuts, silence, limits, damage, servers that do not do as they should.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openHub } from "../../src/sources/hub.ts";
import { parseHubReference } from "../../src/sources/hub-reference.ts";
import {
  blobs,
  cacheDir,
  failure,
  folder,
  hub,
  internals,
  open,
  read,
  useHub,
  weights,
} from "./hub-fixture.ts";
import { etagOf } from "./hub-mock.ts";

useHub();

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
  const settings = { hub: { endpoint: hub.endpoint, cacheDir: cacheDir() } };
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
