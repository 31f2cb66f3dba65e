// Small reads of a file over a network: how many requests they become, and that they give the same bytes.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createByteSource } from "../../src/sources/byte-source.ts";
import { createReadAhead } from "../../src/sources/read-ahead.ts";
import type { ByteSource } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";
import { someBytes } from "./hub-mock.ts";

const MIB = 1024 * 1024;
const content = someBytes(24 * MIB);

interface Remote {
  readonly source: ByteSource;
  readonly requests: { offset: number; nBytes: number }[];
}

function openRemote(fail: () => boolean = () => false): Remote {
  const requests: { offset: number; nBytes: number }[] = [];
  const reader = createReadAhead(content.length, async (offset, nBytes) => {
    requests.push({ offset, nBytes });
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (fail()) throw new Error("cut");
    return content.subarray(offset, offset + nBytes);
  });
  return { source: createByteSource("remote", content.length, reader), requests };
}

async function readInOrder({ source }: Remote, step: number): Promise<void> {
  for (let at = 0; at < content.length; at += step) {
    const bytes = await source.read(at, Math.min(step, content.length - at));
    expect(Buffer.compare(bytes, content.subarray(at, at + step))).toBe(0);
  }
}

test("reading in order: requests grow to 4 MiB, and every byte is asked for once", async () => {
  const remote = openRemote();
  await readInOrder(remote, 100_000);
  const sizes = remote.requests.map(({ nBytes }) => nBytes / MIB);
  expect(sizes.slice(0, 4)).toEqual([0.25, 1, 4, 4]);
  expect(sizes.length).toBeLessThanOrEqual(9);
  expect(sizes.reduce((sum, size) => sum + size)).toBe(content.length / MIB);
});

test("two requests are under way ahead of the reader", async () => {
  const { source, requests } = openRemote();
  for (let at = 0; at < 2 * MIB; at += 0.25 * MIB) await source.read(at, 0.25 * MIB);
  expect(requests.map(({ offset }) => offset / MIB)).toEqual([0, 0.25, 1.25, 5.25, 9.25]);
});

test("reads here and there cost little", async () => {
  const { source, requests } = openRemote();
  for (const at of [20, 3, 11, 7, 16]) await source.read(at * MIB, 10);
  expect(requests.map(({ nBytes }) => nBytes)).toEqual(Array(5).fill(MIB / 4));
});

test("a long read is one request", async () => {
  const { source, requests } = openRemote();
  expect(await source.read(5, 10 * MIB)).toHaveLength(10 * MIB);
  expect(requests).toEqual([{ offset: 5, nBytes: 10 * MIB }]);
});

test("a request that failed is made again by the next read", async () => {
  let failures = 1;
  const { source, requests } = openRemote(() => failures-- > 0);
  await expect(source.read(0, 10)).rejects.toThrow("cut");
  expect(await source.read(0, 10)).toHaveLength(10);
  expect(requests.slice(0, 2).map(({ offset }) => offset)).toEqual([0, 0]);
});

test("whoever aborts leaves alone; the last one ends the request", async () => {
  let ended = 0;
  const reader = createReadAhead(100, (_offset, _nBytes, signal) => {
    signal?.addEventListener("abort", () => ended++);
    return new Promise((_, reject) => {
      signal?.addEventListener("abort", () => reject(new Error("ended")));
    });
  });
  const source = createByteSource("remote", 100, reader);
  const [one, two] = [new AbortController(), new AbortController()];
  const first = failureOf(() => source.read(0, 10, { signal: one.signal }));
  const second = failureOf(() => source.read(5, 10, { signal: two.signal }));
  one.abort();
  expect(await first).toMatch(/^ABORTED/);
  expect(ended).toBe(0);
  two.abort();
  expect(await second).toMatch(/^ABORTED/);
  expect(ended).toBe(1);
});

test("any reads, several at once, give the file's bytes", async () => {
  const reads = fc.array(
    fc.record({
      offset: fc.nat(content.length - 1),
      nBytes: fc.oneof(fc.nat(1000), fc.nat(6 * MIB)),
    }),
    { minLength: 1, maxLength: 8 },
  );
  await fc.assert(
    fc.asyncProperty(reads, async (wanted) => {
      const { source } = openRemote();
      await Promise.all(
        wanted.map(async ({ offset, nBytes }) => {
          const length = Math.min(nBytes, content.length - offset);
          const bytes = await source.read(offset, length);
          expect(Buffer.compare(bytes, content.subarray(offset, offset + length))).toBe(0);
        }),
      );
    }),
    { numRuns: 30 },
  );
});
