// Talks to a model hub: what a revision holds, and ranges of its files. Knows retries, redirects and refusals, and nothing
// of caches.
//
// Plain fetch on the Hub's documented endpoints (`/api/models/…/revision/…`, `/…/resolve/…`) instead of @huggingface/hub: that
// package is one bundle of 56 kB compressed, half of what this library weighs, and its downloads to a cache neither resume nor
// check hashes, nor do they name snapshots as Python does.
import { TureenError } from "../errors.ts";
import { type HubEntry, parseListing, type RevisionListing } from "./hub-listing.ts";
import { HUB_ENDPOINT, parseEndpoint } from "./hub-options.ts";
import { type HubFile, rangeUnmet, refusalOf } from "./hub-refusal.ts";
import { type Attempt, collect, Transient, type Transport } from "./hub-transport.ts";

/** A revision's description is some kB, for the largest repositories a few MB. */
const MAX_LISTING_BYTES = 64 * 1024 * 1024;
const MAX_REDIRECTS = 10;

export interface HubClientOptions {
  readonly endpoint?: string | undefined;
  readonly token?: string | undefined;
  readonly transport: Transport;
}

/** What is asked for: method, headers, and where a redirect has led. */
interface Request {
  readonly method?: "GET" | "HEAD";
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Stay at the hub, whose own answer carries the headers that are wanted. */
  readonly stayOnHub?: boolean;
}

export class HubClient {
  readonly endpoint: URL;
  readonly #token: string | undefined;
  readonly #transport: Transport;
  /** Where the hub sent us for a file's content; such addresses are signed and expire. */
  readonly #locations = new Map<string, URL>();
  /** Browsers hide redirects from scripts; they strip the authorization themselves when one leaves the origin. */
  #hidesRedirects = false;

  constructor({ endpoint = HUB_ENDPOINT, token, transport }: HubClientOptions) {
    this.endpoint = parseEndpoint(endpoint);
    this.#token = token;
    this.#transport = transport;
  }

  /** For messages. */
  describe(file: HubFile): string {
    return `${this.endpoint.host}: ${file.repo}@${file.commit.slice(0, 40)}/${file.path}`;
  }

  /**
   * What a branch, tag or commit holds.
   * @param maxAttempts fewer than usual, where there is a cached answer
   * @throws TureenError `SOURCE_NOT_FOUND`, `SOURCE_READ_FAILED`, `FORMAT_INVALID`
   */
  async list(
    repo: string,
    revision: string,
    signal?: AbortSignal,
    maxAttempts?: number,
  ): Promise<RevisionListing> {
    const url = this.#url(`api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`);
    const where = `${this.endpoint.host}: ${repo}@${revision}`;
    const ask = async (attempt: Attempt): Promise<RevisionListing> => {
      const response = await this.#fetch(url, { signal: attempt.signal });
      if (response.status !== 200) throw await refusalOf(response, where, repo);
      const bytes = await collect(response, attempt, { max: MAX_LISTING_BYTES, where });
      return parseListing(bytes, where);
    };
    return this.#transport.retry(where, signal, ask, maxAttempts);
  }

  /**
   * Size and hash of a file whose listing does not tell them, from the headers of its own address.
   * @returns `undefined` if there is no such file
   */
  async inspect(file: HubFile, signal?: AbortSignal): Promise<HubEntry | undefined> {
    const where = this.describe(file);
    return this.#transport.retry(where, signal, async (attempt) => {
      // `identity`: the length of a compressed answer would not be the file's.
      const response = await this.#fetch(this.#resolveUrl(file), {
        method: "HEAD",
        headers: { "accept-encoding": "identity" },
        signal: attempt.signal,
        stayOnHub: true,
      });
      await response.body?.cancel();
      if (response.status === 404 && !isMissingRepo(response)) return undefined;
      const isRedirect = response.status >= 300 && response.status < 400;
      if (!response.ok && !isRedirect) throw await refusalOf(response, where, file.repo);
      const get = (name: string): string | undefined => response.headers.get(name) ?? undefined;
      const size = get("x-linked-size") ?? (isRedirect ? undefined : get("content-length"));
      const etag = (get("x-linked-etag") ?? get("etag"))?.replace(/^W\//, "").replace(/^"|"$/g, "");
      return {
        path: file.path,
        nBytes: size !== undefined && /^\d{1,15}$/.test(size) ? Number(size) : undefined,
        etag,
      };
    });
  }

  /**
   * A range of a file, going on after cuts from where they happened.
   * @param total the file's size
   * @param onBytes told of every piece that arrives; never negative, never twice for one byte
   */
  async read(
    file: HubFile,
    range: { readonly offset: number; readonly nBytes: number; readonly total: number },
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onBytes?: ((nBytes: number) => void) | undefined;
    } = {},
  ): Promise<Uint8Array> {
    const { offset, nBytes, total } = range;
    const where = this.describe(file);
    const bytes = new Uint8Array(nBytes);
    let done = 0;
    await this.#transport.retry(where, options.signal, async (attempt) => {
      if (done === nBytes) return;
      const first = offset + done;
      // A file asked for in whole needs no range: some mirrors do not know them.
      const isWhole = first === 0 && nBytes === total;
      const headers: Record<string, string> = { "accept-encoding": "identity" };
      if (!isWhole) headers.range = `bytes=${first}-${offset + nBytes - 1}`;
      const response = await this.#fetchContent(file, { headers, signal: attempt.signal });
      const fault = rangeUnmet(response, { first, total, isWhole });
      if (response.status !== 200 && response.status !== 206) {
        throw await refusalOf(response, where, file.repo);
      }
      if (fault !== undefined) {
        await response.body?.cancel();
        throw new TureenError("SOURCE_READ_FAILED", fault.what, { ...fault, where });
      }
      for await (const piece of attempt.pieces(response)) {
        if (done + piece.byteLength > nBytes) {
          throw new TureenError("SOURCE_READ_FAILED", "the hub sent more than was asked for", {
            expected: `${nBytes} bytes`,
            found: `${done + piece.byteLength} bytes or more`,
            where,
          });
        }
        bytes.set(piece, done);
        done += piece.byteLength;
        attempt.progressed();
        options.onBytes?.(piece.byteLength);
      }
      if (done < nBytes) throw new Transient(cutShort(where, nBytes, done));
    });
    return bytes;
  }

  #url(path: string): URL {
    return new URL(`${this.endpoint.href.replace(/\/$/, "")}/${path}`);
  }

  #resolveUrl({ repo, commit, path }: HubFile): URL {
    const escaped = path.split("/").map(encodeURIComponent).join("/");
    return this.#url(`${repo}/resolve/${encodeURIComponent(commit)}/${escaped}`);
  }

  /** Goes straight to where the content was last time, and asks the hub again if that address has expired. */
  async #fetchContent(file: HubFile, request: Request): Promise<Response> {
    const url = this.#resolveUrl(file);
    const known = this.#locations.get(url.href);
    if (known !== undefined) {
      const response = await this.#send(known, request);
      if (response.status === 200 || response.status === 206) return response;
      this.#locations.delete(url.href);
      if (response.status === 429 || response.status >= 500) return response;
      await response.body?.cancel();
    }
    return this.#fetch(url, request, (location) => this.#locations.set(url.href, location));
  }

  async #fetch(
    url: URL,
    request: Request,
    onLocation?: (location: URL) => void,
  ): Promise<Response> {
    let at = url;
    for (let i = 0; i <= MAX_REDIRECTS; i++) {
      const response = await this.#send(at, request);
      const location = response.headers.get("location");
      if (response.status < 300 || response.status >= 400 || location === null) {
        // Where a browser has followed redirects by itself, only the answer tells where to.
        const landed = response.redirected ? new URL(response.url) : at;
        if (landed.origin !== url.origin && response.ok) onLocation?.(landed);
        return response;
      }
      const next = new URL(location, at);
      if (request.stayOnHub === true && next.origin !== this.endpoint.origin) return response;
      await response.body?.cancel();
      if (
        !/^https?:$/.test(next.protocol) ||
        (at.protocol === "https:" && next.protocol === "http:")
      ) {
        throw new TureenError("SOURCE_READ_FAILED", "the hub redirects to an unsafe address", {
          expected: "https",
          found: next.origin,
          where: url.pathname,
        });
      }
      at = next;
    }
    throw new TureenError("SOURCE_READ_FAILED", "the hub redirects in circles", {
      where: url.pathname,
    });
  }

  /** One request. The token goes to the hub and nowhere else. */
  async #send(url: URL, { method = "GET", headers, signal }: Request): Promise<Response> {
    const isHub = url.origin === this.endpoint.origin;
    const all: Record<string, string> = { ...headers };
    if (isHub && this.#token !== undefined) all.authorization = `Bearer ${this.#token}`;
    const send = (redirect: "manual" | "follow"): Promise<Response> =>
      this.#transport.fetch(url, { method, headers: all, signal, redirect });
    if (!this.#hidesRedirects) {
      const response = await send("manual");
      if (response.type !== "opaqueredirect") return response;
      this.#hidesRedirects = true;
    }
    return send("follow");
  }
}

function isMissingRepo(response: Response): boolean {
  return /^(Repo|Revision)NotFound$/.test(response.headers.get("x-error-code") ?? "");
}

function cutShort(where: string, expected: number, found: number): TureenError {
  return new TureenError("SOURCE_READ_FAILED", "the connection was cut", {
    expected: `${expected} bytes`,
    found: `${found} bytes`,
    where,
  });
}
