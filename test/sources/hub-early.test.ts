// Files that are read while they arrive: packing keeps step with a download, and nothing is believed before it was checked.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadModel } from "../../src/index.ts";
import type { ByteSource } from "../../src/sources/source.ts";
import { kitchenPath } from "../support/kitchen.ts";
import {
  blobs,
  cacheDir,
  config,
  failure,
  hub,
  model,
  open,
  read,
  useHub,
  weights,
} from "./hub-fixture.ts";
import { COMMIT, etagOf, type MockFile, someBytes } from "./hub-mock.ts";

useHub();

/** Of `internals`. */
const RANGE = 64 * 1024;

/** Answers of the CDN from `offset` on wait until they are let go. */
function holdFrom(offset: number): () => void {
  const held: (() => void)[] = [];
  let isOpen = false;
  hub.intercept = ({ host, range, url, method }, response) => {
    const start = Number(/=(\d+)-/.exec(range ?? "")?.[1]);
    if (isOpen || host !== "cdn" || !(start >= offset)) return false;
    held.push(() => {
      const headers = { range: range! };
      void fetch(`${hub.cdn}${url}`, { method, headers }).then(async (answer) => {
        const names = ["content-range", "content-length"];
        const own = names.map((name) => [name, answer.headers.get(name)!]);
        response.writeHead(answer.status, Object.fromEntries(own));
        response.end(Buffer.from(await answer.arrayBuffer()));
      });
    });
    return true;
  };
  return () => {
    isOpen = true;
    for (const answer of held) answer();
  };
}

async function openEarly(path = "model.safetensors"): Promise<ByteSource> {
  return (await (await open()).open(path, { early: true }))!;
}

test("the beginning is read before the rest has arrived, and the whole afterwards", async () => {
  const release = holdFrom(2 * RANGE);
  const source = await openEarly();
  const beginning = await source.read(0, 2 * RANGE);
  expect(Buffer.from(beginning).equals(weights.content.subarray(0, 2 * RANGE))).toBe(true);
  let isSettled = false;
  const settled = source.settle!().then(() => {
    isSettled = true;
  });
  const across = source.read(RANGE, 2 * RANGE);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isSettled).toBe(false);
  release();
  await settled;
  expect(Buffer.from(await across).equals(weights.content.subarray(RANGE, 3 * RANGE))).toBe(true);
  expect(blobs()).toEqual([etagOf(weights)]);
  expect(Buffer.from(await source.read(0, source.size)).equals(weights.content)).toBe(true);
  await source.close();
});

test("what an earlier attempt left is not shown before it was checked", async () => {
  const release = holdFrom(2 * RANGE);
  const first = await openEarly();
  await first.read(0, 2 * RANGE);
  await first.close(); // ends the download; what has arrived is kept
  expect(blobs()).toEqual([expect.stringMatching(/\.incomplete$/)]);

  const second = await openEarly();
  let isRead = false;
  const beginning = second.read(0, 100).then(() => {
    isRead = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isRead).toBe(false);
  release();
  await beginning;
  await second.settle!();
  await second.close();
  expect(hub.sent).toBeLessThanOrEqual(weights.content.length + 2 * RANGE);
});

test("shards: every header first, then one after another", async () => {
  const shard = (seed: number): MockFile => ({ content: someBytes(5 * RANGE, seed), lfs: true });
  const files = { "config.json": config, a: shard(1), b: shard(2) };
  hub.repos.set("org/name", { commit: COMMIT, files });
  const all = await open();
  const [a, b] = [(await all.open("a", { early: true }))!, (await all.open("b", { early: true }))!];
  await Promise.all([a.read(0, 100), b.read(0, 100)]);
  await a.settle!();
  await b.settle!();
  const order = hub
    .take()
    .filter((line) => line.startsWith("cdn"))
    .map((line) => (line.includes(etagOf(files.a)) ? "a" : "b"));
  expect(order.length).toBe(10);
  expect(order.lastIndexOf("a")).toBeLessThan(order.indexOf("b", order.indexOf("b") + 1));
  await Promise.all([a.close(), b.close()]);
});

test("a signal, or closing, ends the download and every read", async () => {
  holdFrom(RANGE);
  const source = await openEarly();
  const controller = new AbortController();
  const reading = source.read(0, 3 * RANGE, { signal: controller.signal });
  controller.abort();
  expect(await failure(() => reading)).toMatch(/^ABORTED/);
  expect(await source.read(0, RANGE)).toHaveLength(RANGE); // the download goes on for others
  const other = source.read(0, 3 * RANGE);
  const [text] = await Promise.all([failure(() => other), source.close()]);
  expect(text).toMatch(/^ABORTED/);
});

describe("loadModel", () => {
  const files = (): Record<string, MockFile> =>
    Object.fromEntries(
      ["config.json", "tokenizer.json", "model.safetensors"].map((name) => [
        name,
        {
          content: readFileSync(join(kitchenPath("base"), name)),
          lfs: name.endsWith(".safetensors"),
        },
      ]),
    );
  const load = () =>
    loadModel("org/name", {
      backend: "reference",
      hub: { endpoint: hub.endpoint, cacheDir: cacheDir() },
    });

  test("gives no model whose file is not what was promised, even if all of it could be read", async () => {
    hub.repos.set("org/name", { commit: COMMIT, files: files() });
    const good = files()["model.safetensors"]!;
    hub.intercept = ({ host, range }, response) => {
      if (host !== "cdn") return false;
      const [start, end] = /(\d+)-(\d+)/
        .exec(range ?? "")
        ?.slice(1)
        .map(Number) ?? [0, good.content.length - 1];
      const part = Uint8Array.from(good.content.subarray(start, end! + 1));
      // One bit of the last weight.
      if (end === good.content.length - 1) part[part.length - 3]! ^= 1;
      const contentRange = `bytes ${start}-${end}/${good.content.length}`;
      const headers = range === undefined ? {} : { "content-range": contentRange };
      response
        .writeHead(range === undefined ? 200 : 206, { ...headers, "content-length": part.length })
        .end(part);
      return true;
    };
    const text = await failure(load);
    expect(text).toMatch(
      /^SOURCE_READ_FAILED: the content is not what the hub promised: expected sha256 \w+/,
    );
    expect(blobs().filter((name) => name.includes(etagOf(good)))).toEqual([]);
    hub.intercept = () => false;
    const loaded = await load();
    expect((await loaded.logits([1])).every(Number.isFinite)).toBe(true);
    await loaded.dispose();
  });

  test("that fails ends its download", async () => {
    hub.repos.set("org/name", { ...model, files: { ...files(), "model.safetensors": weights } });
    expect(await failure(load)).toMatch(/^FORMAT_INVALID/); // random bytes have no header
    const seen = hub.sent;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(hub.sent).toBe(seen);
    expect((await read(await open(), "model.safetensors"))?.equals(weights.content)).toBe(true);
  });
});
