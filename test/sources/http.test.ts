// The HTTP source against a server on loopback, well-behaved and not.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openFileSet, readJson } from "../../src/sources/open.ts";
import type { ByteSource } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";

/** Larger than the 64 KiB that opening fetches. */
const body = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 31) ^ (i >> 8));

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
interface Range {
  readonly start: number;
  readonly end: number;
}

let server: Server;
let origin: string;
let handler: Handler = serve;
let requests: string[] = [];

function rangeOf(request: IncomingMessage): Range | undefined {
  const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
  if (match === null) return undefined;
  return { start: Number(match[1]), end: Math.min(Number(match[2]), body.length - 1) };
}

/** A server that does everything right. */
function serve(request: IncomingMessage, response: ServerResponse): void {
  const range = rangeOf(request);
  if (request.url?.startsWith("/model/a.bin") !== true) {
    response.writeHead(404).end("not found");
  } else if (range === undefined) {
    response.writeHead(200, { "content-length": body.length }).end(body);
  } else {
    servePart(response, range);
  }
}

function servePart(
  response: ServerResponse,
  { start, end }: Range,
  headers: Record<string, string> = {},
): void {
  const contentRange = `bytes ${start}-${end}/${body.length}`;
  const part = body.subarray(start, end + 1);
  response
    .writeHead(206, { "content-range": contentRange, "content-length": part.length, ...headers })
    .end(part);
}

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url} ${request.headers.range ?? ""}`.trim());
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => new Promise((resolve) => server.close(resolve)));

afterEach(() => {
  handler = serve;
  requests = [];
});

async function open(path = "a.bin", base = `${origin}/model`): Promise<ByteSource | undefined> {
  return (await openFileSet(base)).open(path);
}

/** Fails as `failureOf`, without the port in the message. */
function failure(action: () => unknown): Promise<string> {
  return failureOf(action, origin);
}

async function readAll(source: ByteSource): Promise<Buffer> {
  return Buffer.from(await source.read(0, source.size));
}

describe("a server with ranges", () => {
  test("one request opens a file, and serves reads of its beginning", async () => {
    const source = (await open())!;
    expect(source.size).toBe(body.length);
    expect(source.name).toBe(`${origin}/model/a.bin`);
    expect([...(await source.read(3, 4))]).toEqual([...body.subarray(3, 7)]);
    expect(requests).toEqual(["GET /model/a.bin bytes=0-65535"]);
    expect([...(await source.read(100_000, 4))]).toEqual([...body.subarray(100_000, 100_004)]);
    // The next pieces come along.
    expect(requests[1]).toBe("GET /model/a.bin bytes=0-199999");
    expect([...(await source.read(199_990, 4))]).toEqual([...body.subarray(199_990, 199_994)]);
    expect(requests.length).toBe(2);
    expect((await readAll(source)).equals(body)).toBe(true);
  });

  test("a missing file is undefined", async () => {
    expect(await open("b.bin")).toBeUndefined();
  });

  test("paths are escaped, query parameters kept and not shown", async () => {
    expect(await open("b c/ä%2e?#.bin", `${origin}/model/?token=secret#x`)).toBeUndefined();
    expect(requests).toEqual(["GET /model/b%20c/%C3%A4%252e%3F%23.bin?token=secret bytes=0-65535"]);
    handler = (_, response) => response.writeHead(403).end();
    const message = await failure(() => open("a.bin", `${origin}/model?token=secret`));
    expect(message).toMatchInlineSnapshot(
      `"SOURCE_READ_FAILED: the server refused the request: expected status 206 or 200, found status 403 (…/model/a.bin). The file is private or gated, or does not exist."`,
    );
  });

  test("traversal never reaches the server", async () => {
    expect(await failure(() => open("../secret"))).toMatch(/^OPTION_INVALID/);
    expect(requests).toEqual([]);
  });

  test("redirects are followed", async () => {
    handler = (request, response) => {
      if (request.url === "/model/a.bin")
        response.writeHead(302, { location: "/model/a.bin2" }).end();
      else serve(request, response);
    };
    expect((await readAll((await open())!)).equals(body)).toBe(true);
  });

  test("an empty file", async () => {
    handler = (_, response) => response.writeHead(416, { "content-range": "bytes */0" }).end();
    const source = (await open())!;
    expect(source.size).toBe(0);
    expect(await source.read(0, 0)).toEqual(new Uint8Array(0));
  });

  test("a hidden content-range: the size comes from HEAD", async () => {
    handler = (request, response) => {
      if (request.method === "HEAD") {
        response.writeHead(200, { "content-length": body.length }).end();
        return;
      }
      const { start, end } = rangeOf(request)!;
      response.writeHead(206).end(body.subarray(start, end + 1));
    };
    const source = (await open())!;
    expect(requests[1]).toBe("HEAD /model/a.bin");
    expect((await readAll(source)).equals(body)).toBe(true);
  });
});

describe("a server that ignores ranges", () => {
  test("the file is held in memory, from one request", async () => {
    handler = (_, response) => response.writeHead(200).end(body);
    const source = (await open())!;
    expect(source.size).toBe(body.length);
    expect((await readAll(source)).equals(body)).toBe(true);
    expect(requests.length).toBe(1);
  });

  test("a file over the limit is refused by its declared size", async () => {
    handler = (_, response) => {
      response.writeHead(200, { "content-length": 2 ** 40 });
      response.write("x");
    };
    expect(await failure(() => open())).toMatchInlineSnapshot(
      `"SOURCE_READ_FAILED: the server ignores range requests: expected status 206, or at most 268435456 bytes, found 1099511627776 bytes (…/model/a.bin). Serve the files from a server that supports range requests."`,
    );
  });
});

describe("passing faults are retried", () => {
  /** Serves well after one bad answer. */
  function failOnce(bad: Handler): void {
    let failed = false;
    handler = (request, response) => {
      if (failed) return serve(request, response);
      failed = true;
      bad(request, response);
    };
  }
  const faults: Record<string, Handler> = {
    "status 503": (_, response) => response.writeHead(503).end(),
    "status 429": (_, response) => response.writeHead(429).end(),
    "a dropped connection": (request) => request.socket.destroy(),
    "a short body": (_, response) => {
      response.writeHead(206, { "content-range": `bytes 0-65535/${body.length}` }).end("short");
    },
    "a body cut by the connection": (request, response) => {
      response.writeHead(206, {
        "content-range": `bytes 0-65535/${body.length}`,
        "content-length": 65536,
      });
      response.write(body.subarray(0, 100), () => request.socket.destroy());
    },
  };
  test.each(Object.entries(faults))("%s, when opening", async (_, bad) => {
    failOnce(bad);
    const source = (await open())!;
    expect(requests.length).toBe(2);
    expect((await readAll(source)).equals(body)).toBe(true);
  });
  test.each(Object.entries(faults))("%s, when reading", async (_, bad) => {
    const source = (await open())!;
    failOnce(bad);
    expect((await readAll(source)).equals(body)).toBe(true);
    expect(requests.length).toBe(3);
  });
  test("but not forever", async () => {
    handler = (_, response) => response.writeHead(500).end();
    expect(await failure(() => open())).toMatchInlineSnapshot(
      `"SOURCE_READ_FAILED: the server refused the request: expected status 206 or 200, found status 500 (…/model/a.bin)"`,
    );
    expect(requests.length).toBe(3);
  });
});

describe("lasting faults", () => {
  test("when opening", async () => {
    const handlers: Record<string, Handler> = {
      "status 401": (_, response) => response.writeHead(401).end(),
      "status 400": (_, response) => response.writeHead(400).end(),
      "another range": (_, response) => servePart(response, { start: 5, end: 65540 }),
      "too much": (_, response) =>
        void response.writeHead(206, { "content-range": `bytes 0-65535/${body.length}` }).end(body),
      "no size": (request, response) => {
        if (request.method === "HEAD") response.writeHead(405).end();
        else
          response
            .writeHead(206, { "content-range": "bytes 0-65535/*" })
            .end(body.subarray(0, 65536));
      },
    };
    const messages: Record<string, string> = {};
    for (const [title, bad] of Object.entries(handlers)) {
      handler = bad;
      messages[title] = await failure(() => open());
    }
    expect(messages).toMatchInlineSnapshot(`
      {
        "another range": "SOURCE_READ_FAILED: the server answered with another range: expected bytes from 0, found bytes from 5 (…/model/a.bin)",
        "no size": "SOURCE_READ_FAILED: the server does not tell the size of the file: expected a content-range or content-length header (…/model/a.bin)",
        "status 400": "SOURCE_READ_FAILED: the server refused the request: expected status 206 or 200, found status 400 (…/model/a.bin)",
        "status 401": "SOURCE_READ_FAILED: the server refused the request: expected status 206 or 200, found status 401 (…/model/a.bin). The file is private or gated, or does not exist.",
        "too much": "SOURCE_READ_FAILED: the server sent more than the range asked for: expected 65536 bytes, found 130884 bytes or more (…/model/a.bin)",
      }
    `);
  });

  test("when reading", async () => {
    const handlers: Record<string, Handler> = {
      "no ranges any more": (_, response) => response.writeHead(200).end(body),
      "another size": (_, response) =>
        void response.writeHead(206, { "content-range": "bytes 0-199998/199999" }).end(),
      "another file": (request, response) =>
        servePart(response, rangeOf(request)!, { etag: '"second"' }),
      "another range": (_, response) => servePart(response, { start: 1, end: 199_999 }),
      gone: (_, response) => response.writeHead(404).end(),
    };
    const messages: Record<string, string> = {};
    for (const [title, bad] of Object.entries(handlers)) {
      handler = (request, response) => servePart(response, rangeOf(request)!, { etag: '"first"' });
      const source = (await open())!;
      handler = bad;
      messages[title] = await failure(() => source.read(0, 200_000));
    }
    expect(messages).toMatchInlineSnapshot(`
      {
        "another file": "SOURCE_READ_FAILED: the file changed while being read: expected 200000 bytes, etag "first", found 200000 bytes, etag "second" (…/model/a.bin)",
        "another range": "SOURCE_READ_FAILED: the server answered with another range: expected bytes from 0, found bytes from 1 (…/model/a.bin)",
        "another size": "SOURCE_READ_FAILED: the file changed while being read: expected 200000 bytes, etag "first", found 199999 bytes (…/model/a.bin)",
        "gone": "SOURCE_READ_FAILED: the server refused the request: expected status 206 or 200, found status 404 (…/model/a.bin)",
        "no ranges any more": "SOURCE_READ_FAILED: the server stopped honouring range requests: expected status 206, found status 200 (…/model/a.bin)",
      }
    `);
  });

  test("no server", async () => {
    // Port 9 (discard) is on fetch's list of blocked ports: it fails at once, everywhere.
    expect(await failure(() => open("a.bin", "http://127.0.0.1:9/"))).toMatch(
      /^SOURCE_READ_FAILED: the request failed: .* \(http:\/\/127\.0\.0\.1:9\/a\.bin\)/,
    );
  });
});

test("aborting ends a request that hangs", async () => {
  handler = () => undefined;
  const controller = new AbortController();
  const opening = (await openFileSet(origin)).open("a.bin", { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  expect(await failure(() => opening)).toMatch(/^ABORTED/);
});

test("aborting ends a body that hangs", async () => {
  const source = (await open())!;
  handler = (_, response) => {
    response.writeHead(206, { "content-range": `bytes 0-199999/${body.length}` });
    response.write(body.subarray(0, 10));
  };
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  const message = await failure(() => source.read(0, 200_000, { signal: controller.signal }));
  expect(message).toMatch(/^ABORTED/);
});

test("an HTML page in place of JSON is named", async () => {
  handler = (_, response) =>
    void response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><html>");
  const files = await openFileSet(origin);
  expect(await failure(() => readJson(files, "config.json"))).toMatchInlineSnapshot(
    `"FORMAT_INVALID: config.json is not what its name says: expected JSON, found an HTML page (…/config.json). The download was probably answered by a web page: check the address (/resolve/, not /blob/) and access rights."`,
  );
});

test("a request does not ask for any type, which would make development servers send a page", async () => {
  let accept: string | undefined;
  handler = (request, response) => {
    accept = request.headers.accept;
    serve(request, response);
  };
  await open();
  expect(accept).not.toContain("*/*");
  expect(accept).not.toContain("html");
});
