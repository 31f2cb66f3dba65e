// Files behind HTTP(S), read by range, so that a header costs one small request and weights stream as they are asked for.
// One ranged GET opens a file: its answer gives the size and the first bytes, which usually hold the whole header.
import { TureenError, throwIfAborted } from "../errors.ts";
import { createByteSource, shortRead } from "./byte-source.ts";
import { checkPath } from "./path.ts";
import { createReadAhead } from "./read-ahead.ts";
import type { ByteSource, FileSet } from "./source.ts";

/** Bytes fetched by the request that opens a file, and kept. */
const FIRST_READ = 64 * 1024;
/** A server that ignores `Range` makes us hold the whole file; beyond this we refuse. */
const MAX_WHOLE_FILE = 256 * 1024 * 1024;
const ATTEMPTS = 3;
/** Before attempts 2 and 3, in ms. */
const RETRY_DELAYS: readonly number[] = [200, 800];
/** Without the wildcard type, development servers do not answer a missing file with their index page. */
const ACCEPT = "application/octet-stream, application/json, text/plain";

/** A URL prefix as a file set, or that of a GGUF file. Query parameters of the prefix are kept on every file. */
export function openHttp(base: string | URL): FileSet {
  const root = new URL(base);
  root.hash = "";
  const [, named] = /([^/]+\.gguf)$/i.exec(root.pathname) ?? [];
  if (named !== undefined) root.pathname = root.pathname.slice(0, -named.length);
  if (!root.pathname.endsWith("/")) root.pathname += "/";
  const name = printable(root);
  return {
    name,
    origin: { name },
    named: named && decode(named),
    async open(path, options) {
      checkPath(path, name);
      const url = new URL(root);
      url.pathname += path.split("/").map(encodeURIComponent).join("/");
      return openResource(url, options?.signal);
    },
  };
}

/** A name as it was before it was written into an address. */
function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

async function openResource(
  url: URL,
  signal: AbortSignal | undefined,
): Promise<ByteSource | undefined> {
  const name = printable(url);
  const first = await retry(signal, async () => {
    const response = await request(url, name, { range: [0, FIRST_READ], signal });
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    return readFirst(response, url, name, signal);
  });
  if (first === undefined) return undefined;
  const { head, size, etag } = first;
  const version = etag ?? first.lastModified;
  const far = createReadAhead(size, (offset, nBytes, signal) =>
    retry(signal, () => readRange({ url, name, size, etag }, offset, nBytes, signal)),
  );
  return createByteSource(name, size, {
    ...far,
    identity: version === null ? undefined : `${url.href} ${size} ${version}`,
    async read(offset, nBytes, signal) {
      if (offset + nBytes <= head.byteLength) return head.subarray(offset, offset + nBytes);
      return far.read(offset, nBytes, signal);
    },
  });
}

interface First {
  /** From offset 0. */
  readonly head: Uint8Array;
  /** Of the whole resource, in bytes. */
  readonly size: number;
  readonly etag: string | null;
  readonly lastModified: string | null;
}

async function readFirst(
  response: Response,
  url: URL,
  name: string,
  signal: AbortSignal | undefined,
): Promise<First> {
  const etag = response.headers.get("etag");
  const lastModified = response.headers.get("last-modified");
  const range = parseContentRange(response);
  if (response.status === 416 && range?.size === 0) {
    await response.body?.cancel();
    return { head: new Uint8Array(0), size: 0, etag, lastModified };
  }
  if (response.status === 206) {
    // The header may be hidden from us by CORS; content-length of a HEAD is not.
    const size = range?.size ?? (await readSizeByHead(url, name, signal));
    if (range !== undefined && range.start !== 0) throw lyingRange(name, 0, range.start);
    const head = await readBody(response, name, Math.min(FIRST_READ, size));
    return { head, size, etag, lastModified };
  }
  if (response.status === 200) {
    const head = await readWhole(response, name);
    return { head, size: head.byteLength, etag, lastModified };
  }
  throw await refusal(response, name);
}

async function readSizeByHead(
  url: URL,
  name: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  const response = await request(url, name, { method: "HEAD", signal });
  const length = response.headers.get("content-length");
  if (response.ok && length !== null && /^\d{1,15}$/.test(length)) return Number(length);
  throw new TureenError("SOURCE_READ_FAILED", "the server does not tell the size of the file", {
    expected: "a content-range or content-length header",
    where: name,
  });
}

async function readRange(
  { url, name, size, etag }: { url: URL; name: string; size: number; etag: string | null },
  offset: number,
  nBytes: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const response = await request(url, name, { range: [offset, nBytes], signal });
  if (response.status !== 206) {
    if (response.status !== 200) throw await refusal(response, name);
    await response.body?.cancel();
    throw new TureenError("SOURCE_READ_FAILED", "the server stopped honouring range requests", {
      expected: "status 206",
      found: "status 200",
      where: name,
    });
  }
  const range = parseContentRange(response);
  const newEtag = response.headers.get("etag");
  const changed = etag !== null && newEtag !== null && newEtag !== etag;
  if (changed || (range?.size !== undefined && range.size !== size)) {
    await response.body?.cancel();
    throw new TureenError("SOURCE_READ_FAILED", "the file changed while being read", {
      expected: `${size} bytes${etag === null ? "" : `, etag ${etag}`}`,
      found: `${range?.size ?? size} bytes${newEtag === null ? "" : `, etag ${newEtag}`}`,
      where: name,
    });
  }
  if (range !== undefined && range.start !== offset) throw lyingRange(name, offset, range.start);
  return readBody(response, name, nBytes);
}

async function request(
  url: URL,
  name: string,
  options: {
    readonly method?: "HEAD";
    readonly range?: readonly [offset: number, nBytes: number];
    readonly signal: AbortSignal | undefined;
  },
): Promise<Response> {
  const headers = new Headers({ accept: ACCEPT });
  if (options.range !== undefined) {
    const [offset, nBytes] = options.range;
    headers.set("range", `bytes=${offset}-${offset + nBytes - 1}`);
  }
  const init: RequestInit = { method: options.method ?? "GET", headers };
  if (options.signal !== undefined) init.signal = options.signal;
  try {
    return await fetch(url, init);
  } catch (cause) {
    throw new Transient(networkFailure(name, cause));
  }
}

/** `bytes 0-99/1000` or, of an unsatisfiable range, `bytes * /1000`. */
function parseContentRange(response: Response): { start?: number; size?: number } | undefined {
  const header = response.headers.get("content-range");
  const match = header?.match(/^bytes (?:(\d{1,15})-\d{1,15}|\*)\/(\d{1,15}|\*)$/);
  if (!match) return undefined;
  const range: { start?: number; size?: number } = {};
  if (match[1] !== undefined) range.start = Number(match[1]);
  if (match[2] !== "*") range.size = Number(match[2]);
  return range;
}

/** Reads a body that must be exactly `nBytes` long. A shorter one is worth another attempt. */
async function readBody(response: Response, name: string, nBytes: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(nBytes);
  let done = 0;
  for await (const chunk of chunks(response, name)) {
    if (done + chunk.byteLength > nBytes) {
      throw new TureenError("SOURCE_READ_FAILED", "the server sent more than the range asked for", {
        expected: `${nBytes} bytes`,
        found: `${done + chunk.byteLength} bytes or more`,
        where: name,
      });
    }
    bytes.set(chunk, done);
    done += chunk.byteLength;
  }
  if (done < nBytes) throw new Transient(shortRead(name, nBytes, done));
  return bytes;
}

/** Reads a body of unknown length, growing with what arrives and not with what a header claims. */
async function readWhole(response: Response, name: string): Promise<Uint8Array> {
  const length = response.headers.get("content-length");
  const encoded = response.headers.get("content-encoding");
  const expected = length !== null && encoded === null ? Number(length) : undefined;
  if (expected !== undefined && expected > MAX_WHOLE_FILE) {
    await response.body?.cancel();
    throw tooLargeWithoutRanges(name, `${expected} bytes`);
  }
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks(response, name)) {
    parts.push(chunk);
    size += chunk.byteLength;
    if (size > MAX_WHOLE_FILE) throw tooLargeWithoutRanges(name, "more");
  }
  if (expected !== undefined && size < expected) {
    throw new Transient(shortRead(name, expected, size));
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.byteLength;
  }
  return bytes;
}

async function* chunks(response: Response, name: string): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  let finished = false;
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        finished = true;
        throw new Transient(networkFailure(name, cause));
      });
      if (done) {
        finished = true;
        return;
      }
      yield value;
    }
  } finally {
    if (!finished) await reader.cancel().catch(() => undefined);
  }
}

/** Marks a failure that another attempt may cure. Never leaves this module. */
class Transient {
  readonly error: TureenError;
  constructor(error: TureenError) {
    this.error = error;
  }
}

async function retry<T>(signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
  for (let i = 0; ; i++) {
    try {
      return await attempt();
    } catch (failure) {
      throwIfAborted(signal);
      if (!(failure instanceof Transient)) throw failure;
      if (i >= ATTEMPTS - 1) throw failure.error;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_DELAYS[i]));
    throwIfAborted(signal);
  }
}

async function refusal(response: Response, name: string): Promise<TureenError | Transient> {
  await response.body?.cancel();
  const { status } = response;
  const denied = status === 401 || status === 403;
  const error = new TureenError("SOURCE_READ_FAILED", "the server refused the request", {
    expected: "status 206 or 200",
    found: `status ${status}`,
    where: name,
    ...(denied ? { hint: "The file is private or gated, or does not exist." } : {}),
  });
  return status === 429 || status >= 500 ? new Transient(error) : error;
}

function networkFailure(name: string, cause: unknown): TureenError {
  const reason = cause instanceof Error ? (cause.cause ?? cause) : cause;
  const text = reason instanceof Error ? reason.message : String(reason);
  const what = `the request failed: ${text}`;
  return new TureenError("SOURCE_READ_FAILED", what, { where: name }, { cause });
}

function lyingRange(name: string, expected: number, found: number | undefined): TureenError {
  return new TureenError("SOURCE_READ_FAILED", "the server answered with another range", {
    expected: `bytes from ${expected}`,
    found: `bytes from ${found}`,
    where: name,
  });
}

function tooLargeWithoutRanges(name: string, found: string): TureenError {
  return new TureenError("SOURCE_READ_FAILED", "the server ignores range requests", {
    expected: `status 206, or at most ${MAX_WHOLE_FILE} bytes`,
    found,
    where: name,
    hint: "Serve the files from a server that supports range requests.",
  });
}

/** Without user name, password and query, which may hold secrets. */
function printable(url: URL): string {
  return `${url.origin}${url.pathname}`;
}
