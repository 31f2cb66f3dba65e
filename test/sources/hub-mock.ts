// A model hub on loopback: the API and resolve addresses of Hugging Face's, and a second origin that plays its CDN. Tests set
// what goes wrong.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface MockFile {
  readonly content: Uint8Array;
  /** As the hub does with large files: named by SHA-256 and served by the CDN. */
  readonly lfs?: boolean;
}

export interface MockRepo {
  readonly commit: string;
  readonly files: Readonly<Record<string, MockFile>>;
  /** Needs the token. `gated`: the description is public, the content is not. */
  readonly access?: "gated" | "private";
  /** Names of the revision. Default: main. */
  readonly refs?: readonly string[];
  /** As mirrors do: a listing without sizes and hashes. */
  readonly bareListing?: boolean;
}

export interface Seen {
  readonly host: "hub" | "cdn";
  readonly method: string;
  readonly url: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** Answers a request in place of the mock; true if it has. */
export type Interceptor = (seen: Seen, response: ServerResponse) => boolean;

export const TOKEN = "hf_secret";
export const COMMIT: string = "c0ffee".padEnd(40, "0");
export const OTHER_COMMIT: string = "decade".padEnd(40, "1");

/** Pages of other origins may ask, as at the Hub. */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "authorization, range",
  "access-control-expose-headers":
    "content-range, etag, x-error-code, x-linked-etag, x-linked-size",
};

export class MockHub {
  readonly repos: Map<string, MockRepo> = new Map();
  readonly seen: Seen[] = [];
  intercept: Interceptor = () => false;
  /** Bytes of content sent. */
  sent = 0;
  readonly #servers: Server[] = [];
  endpoint = "";
  cdn = "";

  async start(): Promise<void> {
    this.endpoint = await this.#listen("hub");
    this.cdn = await this.#listen("cdn");
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  reset(): void {
    this.repos.clear();
    this.seen.length = 0;
    this.sent = 0;
    this.intercept = () => false;
  }

  /** Requests since the last call, short: `cdn GET /… bytes=0-9`. */
  take(): string[] {
    const lines = this.seen.map(({ host, method, url, range }) =>
      `${host} ${method} ${url} ${range ?? ""}`.trim(),
    );
    this.seen.length = 0;
    return lines;
  }

  async #listen(host: "hub" | "cdn"): Promise<string> {
    const server = createServer((request, response) => {
      const seen: Seen = {
        host,
        method: request.method ?? "",
        url: request.url ?? "",
        range: request.headers.range,
        authorization: request.headers.authorization,
      };
      for (const [name, value] of Object.entries(CORS)) response.setHeader(name, value);
      if (request.method === "OPTIONS") {
        response.writeHead(204).end();
        return;
      }
      this.seen.push(seen);
      if (this.intercept(seen, response)) return;
      if (host === "cdn") this.#serveCdn(request, response);
      else this.#serveHub(request, response);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #serveHub(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "", this.endpoint);
    const api = /^\/api\/models\/([^/]+(?:\/[^/]+)?)\/revision\/([^/]+)$/.exec(url.pathname);
    const resolve = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const [, name, revision] = api ?? resolve ?? [];
    const repo = this.repos.get(name ?? "");
    const isKnown = request.headers.authorization === `Bearer ${TOKEN}`;
    if (repo === undefined || (repo.access === "private" && !isKnown)) {
      response.writeHead(401, { "x-error-code": "RepoNotFound" }).end();
      return;
    }
    const wanted = decodeURIComponent(revision!);
    if (![repo.commit, ...(repo.refs ?? ["main"])].includes(wanted)) {
      response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end();
      return;
    }
    if (api !== null) {
      response.end(JSON.stringify(describe(repo)));
      return;
    }
    if (repo.access === "gated" && !isKnown) {
      const status = request.headers.authorization === undefined ? 401 : 403;
      response.writeHead(status, { "x-error-code": "GatedRepo" }).end();
      return;
    }
    const path = decodeURIComponent(resolve![3]!);
    const file = repo.files[path];
    if (file === undefined) {
      response.writeHead(404, { "x-error-code": "EntryNotFound" }).end();
      return;
    }
    if (file.lfs !== true) {
      this.#sendContent(request, response, file, etagOf(file));
      return;
    }
    const headers = {
      location: `${this.cdn}/${name}/${etagOf(file)}?signature=abc`,
      "x-linked-etag": `"${etagOf(file)}"`,
      "x-linked-size": String(file.content.length),
      "x-repo-commit": repo.commit,
    };
    response.writeHead(302, headers).end("Found");
  }

  /** Content by hash. */
  #serveCdn(request: IncomingMessage, response: ServerResponse): void {
    const match = /^\/(.+)\/([0-9a-f]{64})\?signature=abc$/.exec(request.url ?? "");
    const files = Object.values(this.repos.get(match?.[1] ?? "")?.files ?? {});
    const file = files.find((candidate) => etagOf(candidate) === match?.[2]);
    if (file === undefined) {
      response.writeHead(403).end("expired");
      return;
    }
    this.#sendContent(request, response, file, "a-mark-of-the-cdn");
  }

  #sendContent(
    request: IncomingMessage,
    response: ServerResponse,
    { content }: MockFile,
    etag: string,
  ): void {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const start = Number(range?.[1] ?? 0);
    const end = Math.min(Number(range?.[2] ?? content.length - 1), content.length - 1);
    const part = content.subarray(start, end + 1);
    const headers: Record<string, string | number> = {
      etag: `"${etag}"`,
      "content-length": part.length,
    };
    if (range !== null) headers["content-range"] = `bytes ${start}-${end}/${content.length}`;
    response.writeHead(range === null ? 200 : 206, headers);
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    this.sent += part.length;
    response.end(part);
  }
}

export function etagOf({ content, lfs }: MockFile): string {
  if (lfs === true) return createHash("sha256").update(content).digest("hex");
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

function describe(repo: MockRepo): unknown {
  const siblings = Object.entries(repo.files).map(([rfilename, file]) => {
    if (repo.bareListing === true) return { rfilename };
    const size = file.content.length;
    const lfs = file.lfs === true ? { lfs: { sha256: etagOf(file), size, pointerSize: 135 } } : {};
    return {
      rfilename,
      size,
      blobId: "f".repeat(40),
      ...(file.lfs ? lfs : { blobId: etagOf(file) }),
    };
  });
  return { id: "x/y", sha: repo.commit, private: false, siblings };
}

/** Bytes that differ everywhere. */
export function someBytes(nBytes: number, seed = 1): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: nBytes }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}
