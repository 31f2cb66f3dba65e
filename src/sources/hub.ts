// A repository of a model hub as a set of files: from the cache where it has them, else through it. Files are fetched when
// they are opened, and only those.
import { TureenError } from "../errors.ts";
import { openArriving } from "./arriving.ts";
import { createByteSource } from "./byte-source.ts";
import type { HubCache } from "./cache/cache.ts";
import { openHubCache } from "./cache/open-cache.ts";
import { HubClient } from "./hub-client.ts";
import { type Download, downloadBlob, hashOf } from "./hub-download.ts";
import { type HubEnvironment, readHubEnvironment, readTokenFile } from "./hub-environment.ts";
import type { HubEntry, RevisionListing } from "./hub-listing.ts";
import { DownloadMeter } from "./hub-meter.ts";
import { HUB_ENDPOINT, type HubOptions, type OpenOptions, parseEndpoint } from "./hub-options.ts";
import { type HubReference, isCommit } from "./hub-reference.ts";
import type { HubFile } from "./hub-refusal.ts";
import { Transport, type TransportOptions } from "./hub-transport.ts";
import { checkPath } from "./path.ts";
import { createReadAhead } from "./read-ahead.ts";
import type { ByteSource, FileOrigin, FileSet, OpenFileOptions, ReadOptions } from "./source.ts";

/** A newer revision is not worth a long wait. */
const ATTEMPTS_IF_CACHED = 2;

/** What tests change. */
export interface HubInternals {
  readonly transport?: TransportOptions;
  readonly rangeBytes?: number;
}

/**
 * Opens a repository. Asks the hub which commit the revision is, unless it is one, or offline.
 * @throws TureenError `SOURCE_NOT_FOUND`, `SOURCE_READ_FAILED`, `OPTION_INVALID`, `ABORTED`
 */
export async function openHub(
  reference: HubReference,
  options: OpenOptions = {},
  internals: HubInternals = {},
): Promise<FileSet> {
  const { hub = {}, onWarning } = options;
  const environment = readHubEnvironment();
  const parallel = checkParallel(hub.parallel ?? 4);
  const offline = hub.offline ?? environment.offline;
  const endpoint = hub.endpoint ?? environment.endpoint;
  const token = await chooseToken(hub, environment);
  const client = new HubClient({ endpoint, token, transport: new Transport(internals.transport) });
  const cache = await chooseCache(options);
  const repository = new HubRepository({
    reference,
    client,
    cache,
    offline,
    parallel,
    cacheLimit: hub.cacheLimit,
    keep: hub.keep ?? true,
    onWarning,
    onDownload: options.onDownload,
    rangeBytes: internals.rangeBytes,
  });
  await repository.resolve(options.signal);
  return repository;
}

/** A program that names another hub does not thereby get the token of the one that the person logged in to. */
async function chooseToken(
  hub: HubOptions,
  environment: HubEnvironment,
): Promise<string | undefined> {
  if (hub.token !== undefined) return hub.token || undefined;
  const home = parseEndpoint(environment.endpoint ?? HUB_ENDPOINT).href;
  if (hub.endpoint !== undefined && parseEndpoint(hub.endpoint).href !== home) return undefined;
  return environment.token ?? (await readTokenFile(environment));
}

async function chooseCache({ hub = {}, onWarning }: OpenOptions): Promise<HubCache | undefined> {
  const { cache = "auto", cacheDir } = hub;
  if (cache === "none") return undefined;
  if (typeof cache === "object") return cache;
  const opened = await openHubCache({ cacheDir });
  if (opened === undefined) {
    const message = "this host has no storage for files: they are read from the hub every time";
    onWarning?.({ code: "CACHE_UNAVAILABLE", message });
  }
  return opened;
}

function checkParallel(parallel: number): number {
  if (Number.isSafeInteger(parallel) && parallel >= 1 && parallel <= 16) return parallel;
  throw new TureenError("OPTION_INVALID", "option hub.parallel is invalid", {
    expected: "an integer from 1 to 16",
    found: String(parallel),
  });
}

interface RepositoryParts {
  readonly reference: HubReference;
  readonly client: HubClient;
  readonly cache: HubCache | undefined;
  readonly offline: boolean;
  readonly parallel: number;
  readonly cacheLimit: number | undefined;
  readonly keep: boolean;
  readonly onWarning: OpenOptions["onWarning"];
  readonly onDownload: OpenOptions["onDownload"];
  readonly rangeBytes: number | undefined;
}

class HubRepository implements FileSet {
  readonly name: string;
  readonly hubId: string;
  readonly named: string | undefined;
  readonly #parts: RepositoryParts;
  readonly #meter: DownloadMeter;
  /** Shards whose sizes the meter knows. */
  readonly #announced = new Set<string>();
  readonly #isOffline: boolean;
  #commit = "";
  /** Files that are read while they arrive, one after another, so that the first is complete first. */
  #arriving: Promise<unknown> | undefined;
  #listing: Promise<RevisionListing> | undefined;

  constructor(parts: RepositoryParts) {
    const { repo, revision, folder, named } = parts.reference;
    this.#parts = parts;
    this.named = named;
    this.#isOffline = parts.offline;
    this.#meter = new DownloadMeter(parts.onDownload ?? (() => {}));
    this.name = `${repo}${revision === "main" ? "" : `@${revision}`}${folder && `/${folder}`}`;
    this.hubId = repo;
  }

  /** Finds the commit. */
  async resolve(signal: AbortSignal | undefined): Promise<void> {
    const { cache, client, keep, onWarning, reference } = this.#parts;
    const { repo, revision } = reference;
    if (isCommit(revision)) {
      this.#commit = revision;
      return;
    }
    const known = await cache?.readRef(repo, revision);
    if (!this.#isOffline) {
      try {
        const attempts = known === undefined ? undefined : ATTEMPTS_IF_CACHED;
        const listing = await client.list(repo, revision, signal, attempts);
        this.#commit = listing.commit;
        this.#listing = Promise.resolve(listing);
        if (listing.commit === known || !keep) return;
        await cache?.writeRef(repo, revision, listing.commit).catch(() => {}); // a read-only cache still serves
        return;
      } catch (error) {
        if (known === undefined || !isOutage(error)) throw error;
        const message = `${this.name}: using the cached revision, since the hub cannot tell the newest: ${error.message}`;
        onWarning?.({ code: "HUB_UNREACHABLE", message });
      }
    }
    if (known === undefined) throw this.#offline(`${repo}@${revision}`);
    this.#commit = known;
  }

  get origin(): FileOrigin {
    const { cache, keep, reference } = this.#parts;
    const { repo, folder } = reference;
    return { name: repo, commit: this.#commit, folder, cache: keep ? cache : undefined };
  }

  /** As far as the hub, or the cache where the hub cannot be asked, tells. */
  async list({ signal }: ReadOptions = {}): Promise<readonly string[]> {
    const { cache, reference } = this.#parts;
    const { repo, folder } = reference;
    const commit = this.#commit;
    const ofCache = async (): Promise<readonly string[]> => {
      const known = (await cache?.list())?.find((one) => one.repo === repo)?.revisions;
      return known?.find((one) => one.commit === commit)?.files ?? [];
    };
    const asked = this.#isOffline
      ? undefined
      : await this.#ask(signal).catch((error: unknown) => {
          if (!isOutage(error)) throw error;
        });
    const listed = asked?.files?.keys();
    const prefix = folder === "" ? "" : `${folder}/`;
    return [...(listed ?? (await ofCache()))].flatMap((path) => {
      const name = path.startsWith(prefix) ? path.slice(prefix.length) : "/";
      return name.includes("/") ? [] : [name];
    });
  }

  async open(path: string, options: OpenFileOptions = {}): Promise<ByteSource | undefined> {
    checkPath(path, this.name);
    const { repo, folder } = this.#parts.reference;
    const inRepo = folder === "" ? path : `${folder}/${path}`;
    const file: HubFile = { repo, commit: this.#commit, path: inRepo };
    const source = await this.#open(file, options);
    return source && { ...source, identity: `${repo}@${file.commit}/${inRepo}` };
  }

  async #open(file: HubFile, options: OpenFileOptions): Promise<ByteSource | undefined> {
    const { cache, keep } = this.#parts;
    const { repo, commit, path } = file;
    const cached = await cache?.open(repo, commit, path, options);
    if (cached !== undefined) return cached;
    if (await cache?.isAbsent(repo, commit, path)) return undefined;
    if (this.#isOffline) return this.#missOffline(file);
    const entry = await this.#find(file, options.signal);
    if (entry === undefined) {
      if (keep) await cache?.markAbsent(repo, commit, path).catch(() => {});
      return undefined;
    }
    return cache === undefined || !keep
      ? this.#openRemote(file, entry)
      : this.#openThrough(cache, file, entry, options);
  }

  /** Offline, a file that nobody ever asked for is taken to be absent if the commit is there at all, as Python does. */
  async #missOffline({ repo, commit, path }: HubFile): Promise<undefined> {
    const repos = (await this.#parts.cache?.list()) ?? [];
    const revisions = repos.find((candidate) => candidate.repo === repo)?.revisions ?? [];
    if (!revisions.some((revision) => revision.commit === commit)) {
      throw this.#offline(`${repo}@${commit}/${path}`);
    }
    return undefined;
  }

  #offline(what: string): TureenError {
    return new TureenError("SOURCE_NOT_FOUND", `${what} is not in the cache`, {
      expected: "files of an earlier download, since the hub is not to be asked (offline)",
      where: this.#parts.cache?.name ?? "no cache",
      hint: "Load it once without HF_HUB_OFFLINE and the option hub.offline.",
    });
  }

  /** What the hub says of the commit. */
  #ask(signal: AbortSignal | undefined): Promise<RevisionListing> {
    const { client, reference } = this.#parts;
    this.#listing ??= client.list(reference.repo, this.#commit, signal);
    return this.#listing.catch((error: unknown) => {
      this.#listing = undefined;
      throw error;
    });
  }

  async #find(file: HubFile, signal: AbortSignal | undefined): Promise<HubEntry | undefined> {
    const { client } = this.#parts;
    const listing = await this.#ask(signal);
    const entry = listing.files?.get(file.path);
    if (entry === undefined && listing.files !== undefined) return undefined;
    if (entry?.nBytes !== undefined && entry.etag !== undefined) return entry;
    const inspected = await client.inspect(file, signal);
    if (inspected === undefined) return undefined;
    return {
      path: file.path,
      nBytes: entry?.nBytes ?? inspected.nBytes,
      etag: entry?.etag ?? inspected.etag,
    };
  }

  /** Without a cache: by range, whenever something is read, so weights stream to where they are used. */
  #openRemote(file: HubFile, entry: HubEntry): ByteSource {
    const { client } = this.#parts;
    const total = this.#sizeOf(file, entry);
    const reader = createReadAhead(total, (offset, nBytes, signal) =>
      client.read(file, { offset, nBytes, total }, { signal }),
    );
    return createByteSource(client.describe(file), total, reader);
  }

  async #openThrough(
    cache: HubCache,
    file: HubFile,
    entry: HubEntry,
    { signal: outer, early }: OpenFileOptions,
  ): Promise<ByteSource> {
    const { repo, commit, path } = file;
    const nBytes = this.#sizeOf(file, entry);
    const etag = this.#markOf(file, entry);
    await this.#announce(file, nBytes);
    const openLinked = async (): Promise<ByteSource | undefined> => {
      const isThere = await cache.link(repo, commit, path, etag, nBytes);
      return isThere ? cache.open(repo, commit, path, { signal: outer }) : undefined;
    };
    const present = await openLinked();
    if (present !== undefined) {
      this.#meter.add(path, nBytes, true);
      return present;
    }
    const download = async (
      signal: AbortSignal | undefined,
      more: Pick<Download, "onArrival" | "turn"> = {},
    ): Promise<ByteSource> => {
      const { client, parallel, rangeBytes } = this.#parts;
      await this.#makeRoom(cache);
      let arrived = 0;
      const onBytes = (n: number, isResumed: boolean): void => {
        arrived += n;
        this.#meter.add(path, n, isResumed);
      };
      const what = { client, cache, file, etag, nBytes };
      await downloadBlob({ ...what, parallel, rangeBytes, signal, onBytes, ...more });
      // Another program may have fetched it.
      if (arrived < nBytes) this.#meter.add(path, nBytes - arrived, true);
      const complete = await openLinked();
      if (complete === undefined) throw vanished(cache, path);
      return complete;
    };
    if (early !== true) return download(outer);
    const turn = this.#arriving;
    const name = this.#parts.client.describe(file);
    const source = openArriving(
      name,
      nBytes,
      (onArrival, signal) => download(signal, { onArrival, turn }),
      outer,
    );
    this.#arriving = Promise.allSettled([turn, source.settle?.()]);
    return source;
  }

  /** For all that was announced: the shards of a model come one after another. */
  async #makeRoom(cache: HubCache): Promise<void> {
    const { cacheLimit } = this.#parts;
    if (cacheLimit === undefined) return;
    const { missing } = this.#meter;
    const { nBytes } = await cache.trim(Math.max(0, cacheLimit - missing));
    if (nBytes + missing <= cacheLimit) return;
    throw new TureenError("SOURCE_WRITE_FAILED", "the limit of the cache leaves no room", {
      expected: `at most ${cacheLimit} bytes`,
      found: `${missing} to come, beside ${nBytes} in use`,
      where: cache.name,
      hint: 'Raise the option hub.cacheLimit, or read without a cache: hub.cache = "none".',
    });
  }

  #sizeOf(file: HubFile, { nBytes }: HubEntry): number {
    if (nBytes !== undefined) return nBytes;
    throw new TureenError("SOURCE_READ_FAILED", "the hub does not tell the size of the file", {
      where: this.#parts.client.describe(file),
    });
  }

  /** The name of the content. One that is no hash may be whatever a server made up, and is checked for use as a file name. */
  #markOf(file: HubFile, { etag }: HubEntry): string {
    const where = this.#parts.client.describe(file);
    if (etag === undefined || !/^[\w-]{1,128}$/.test(etag)) {
      throw new TureenError("SOURCE_READ_FAILED", "the hub does not tell the hash of the file", {
        expected: "an etag of up to 128 letters and digits",
        found: etag ?? "none",
        where,
        hint: 'Read it without a cache: the option hub.cache = "none".',
      });
    }
    if (hashOf(etag) === undefined) {
      const message = `${where}: its etag is no hash, so the download is checked for its size only`;
      this.#parts.onWarning?.({ code: "HUB_UNVERIFIED", message });
    }
    return etag;
  }

  /** With the first shard of a model, all of its shards are to come. */
  async #announce({ path }: HubFile, nBytes: number): Promise<void> {
    if (this.#announced.has(path)) return;
    const family = /^(.*)-\d{5}-of-(\d{5})(\.\w+)$/.exec(path);
    const files = (await this.#listing)?.files;
    const sizes = new Map([[path, nBytes]]);
    if (family !== null && files !== undefined) {
      const [, stem, count, extension] = family;
      for (const other of files.values()) {
        const isSibling =
          other.path.startsWith(`${stem}-`) && other.path.endsWith(`-of-${count}${extension}`);
        if (isSibling && other.nBytes !== undefined) sizes.set(other.path, other.nBytes);
      }
    }
    for (const [name, size] of sizes) {
      if (this.#announced.has(name)) continue;
      this.#announced.add(name);
      this.#meter.expect(size);
    }
  }
}

function isOutage(error: unknown): error is TureenError {
  return error instanceof TureenError && error.code === "SOURCE_READ_FAILED";
}

function vanished(cache: HubCache, path: string): TureenError {
  return new TureenError("SOURCE_READ_FAILED", `${path} vanished from the cache`, {
    where: cache.name,
    hint: "Another program may have cleared it; try again.",
  });
}
