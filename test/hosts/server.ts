// A static file server on loopback, as a user would put before a page: types, ranges, and the headers asked for.
import { readFile } from "node:fs/promises";
import { createServer, type OutgoingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { text } from "node:stream/consumers";

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** What makes shared memory, hence threads, available to a page. */
export const ISOLATION: OutgoingHttpHeaders = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/** No eval, no inline script, no blob or data worker. */
export const STRICT_CSP: OutgoingHttpHeaders = {
  "content-security-policy":
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'",
};

export interface StaticServer {
  /** With a slash at the end. */
  readonly url: string;
  /** Paths asked for since the last call. */
  take(): string[];
  close(): Promise<void>;
}

/** Below it, files come whole, whatever range was asked for. */
export const WHOLE = "/whole/";

/**
 * Serves folders by URL prefix; paths cannot leave them.
 * @param onPost takes what a page sends
 */
export async function serveFiles(
  folders: Readonly<Record<string, string>>,
  headers: OutgoingHttpHeaders = {},
  onPost?: (body: string) => void,
): Promise<StaticServer> {
  const seen: string[] = [];
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      const body = await text(request);
      response.writeHead(204, headers).end();
      return onPost?.(body);
    }
    const path = normalize(decodeURIComponent(new URL(request.url!, "http://host").pathname));
    seen.push(path);
    const prefix = Object.keys(folders).find((candidate) => path.startsWith(candidate));
    const name = path.endsWith("/") ? `${path}index.html` : path;
    const file = prefix === undefined ? "" : join(folders[prefix]!, name.slice(prefix.length));
    const content = await readFile(file).catch(() => undefined);
    if (content === undefined) return void response.writeHead(404, headers).end();
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    const isWhole = path.startsWith(WHOLE);
    const range = /^bytes=(\d+)-(\d+)$/.exec((!isWhole && request.headers.range) || "");
    if (range === null) {
      const ranges = isWhole ? "none" : "bytes";
      response.writeHead(200, { ...headers, "content-type": type, "accept-ranges": ranges });
      return void response.end(content);
    }
    const start = Number(range[1]);
    const part = content.subarray(start, Number(range[2]) + 1);
    const span = `bytes ${start}-${start + part.length - 1}/${content.length}`;
    response.writeHead(206, { ...headers, "content-type": type, "content-range": span });
    response.end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    take: () => seen.splice(0),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
