// The channel between a page and its worker: what arrives on the other side of it.
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, expect, test } from "vitest";
import { TureenError } from "../../src/errors.ts";
import { type Channel, Endpoint, transfer } from "../../src/worker/endpoint.ts";

const ports: MessagePort[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

function connect(root: object): (member: string, ...args: unknown[]) => Promise<unknown> {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  const channel = (port: MessagePort): Channel => ({
    post: (message, moved) => port.postMessage(message, moved as ArrayBuffer[]),
    listen: (receive) => void port.on("message", receive),
  });
  new Endpoint(channel(port2), { properties: "asked", moves: (it) => it === "logits" }).expose(
    root,
  );
  const client = new Endpoint(channel(port1), { properties: "copied" });
  return (member, ...args) => client.call(0, member, args);
}

class Counter {
  count = 0;
  get double(): number {
    return 2 * this.count;
  }
  add(n: number): this {
    this.count += n;
    return this;
  }
}

test.each([
  ["numbers", [1, Number.NaN, -0, Number.POSITIVE_INFINITY]],
  ["nested data", { a: [{ b: undefined, c: null }], d: "text", e: 1n }],
  ["bytes", { bytes: Uint8Array.of(1, 2, 3) }],
  [
    "data that looks like a mark",
    { $: "own", id: 0, inner: { $: "object", id: 1, methods: ["x"] } },
  ],
  ["a key of prototypes", JSON.parse('{ "__proto__": { "polluted": true } }')],
  ["a URL", { url: new URL("https://example.com/a?b") }],
  ["a date and a map", [new Date(0), new Map([[1, 2]])]],
])("carries %s unchanged, there and back", async (_, value) => {
  const call = connect({ echo: (it: unknown) => it });
  expect(await call("echo", value)).toEqual(value);
  expect({}).not.toHaveProperty("polluted");
});

test("objects stay on their side: methods and properties ask, and they come back as themselves", async () => {
  const counter = new Counter();
  const call = connect({
    get: () => counter,
    isIt: (it: unknown, { inner }: { inner: unknown }) => it === counter && inner === counter,
  });
  const remote = (await call("get")) as {
    add(n: number): Promise<unknown>;
    double: Promise<number>;
  };
  await remote.add(3);
  expect(await remote.double).toBe(6);
  expect(await call("isIt", remote, { inner: remote })).toBe(true);
});

test("errors keep code, message, details and the name of their cause", async () => {
  const error = new TureenError(
    "SOURCE_NOT_FOUND",
    "no file",
    { where: "x" },
    { cause: new Error("why") },
  );
  const call = connect({
    fail: () => {
      throw error;
    },
  });
  const caught = await call("fail").catch((it) => it);
  expect(caught).toBeInstanceOf(TureenError);
  expect(caught).toMatchObject({
    code: error.code,
    message: error.message,
    details: error.details,
    cause: "Error: why",
  });
});

test("callbacks are called, with their results awaited", async () => {
  const call = connect({
    ask: async ({ question }: { question: (n: number) => Promise<number> }) =>
      (await question(20)) + 1,
  });
  expect(await call("ask", { question: (n: number) => 2 * n })).toBe(41);
});

test("signals abort on the other side, before and after the call", async () => {
  const wait = (signal: AbortSignal): Promise<unknown> =>
    new Promise((resolve) => {
      if (signal.aborted) resolve(["already", signal.reason]);
      signal.addEventListener("abort", () => resolve(["later", signal.reason]));
    });
  const call = connect({ wait: ({ signal }: { signal: AbortSignal }) => wait(signal) });
  const controller = new AbortController();
  const waiting = call("wait", { signal: controller.signal });
  controller.abort("enough");
  expect(await waiting).toEqual(["later", "enough"]);
  expect(await call("wait", { signal: controller.signal })).toEqual(["already", "enough"]);
});

test("iterables are read item by item, and closed when the reader leaves", async () => {
  let produced = 0;
  let closed = false;
  async function* produce(): AsyncGenerator<number> {
    try {
      for (;;) yield produced++;
    } finally {
      closed = true;
    }
  }
  const call = connect({ produce });
  for await (const item of (await call("produce")) as AsyncIterable<number>) if (item === 4) break;
  expect([produced, closed]).toEqual([5, true]);
});

test("marked buffers move, all others are copied", async () => {
  const call = connect({ size: (it: { bytes: Uint8Array }) => it.bytes.byteLength });
  const kept = { bytes: new Uint8Array(10) };
  const moved = { bytes: new Uint8Array(20) };
  expect(await call("size", kept)).toBe(10);
  expect(await call("size", transfer(moved, [moved.bytes.buffer]))).toBe(20);
  expect([kept.bytes.byteLength, moved.bytes.byteLength]).toEqual([10, 0]);
});
