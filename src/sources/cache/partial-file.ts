// A download in progress on a disk: `blobs/ETAG.OWNER.incomplete`, where OWNER is host, process and a random part. No lock
// file is needed, and none can be left behind:
//
// - A name belongs to one download; the name is touched every few seconds.
// - Another download of the same content waits while the name is fresh, and takes the file over by renaming it, which only one
//   can, once its process is gone or it has not been touched for long.
// - Before each write the owner checks that the file still has its name. Writes go to fixed positions, so even a write
//   after a take-over would put the same bytes in the same place.
//
// Python keeps its own downloads as `ETAG.incomplete` under a lock that Node cannot take. What it left there is copied as
// the beginning, and checked by the hash like everything else.
import type { FileHandle } from "node:fs/promises";
import { TureenError } from "../../errors.ts";
import { findBuiltin } from "../../node-builtin.ts";
import { wait } from "../hub-transport.ts";
import type { PartialBlob } from "./cache.ts";
import { codeOf, type FileSystem, isMissing, noSpace, writeFailure } from "./file-system.ts";

/** In ms. */
const TOUCH_EVERY = 3000;
/**
 * After so many ms untouched, a file is taken over: of another host, or of a process of which nothing can be told; and of a
 * process that lives here, which may be busy, or only have the number of one that is gone.
 */
const STALE_AFTER = { unknown: 15_000, alive: 60_000, gone: 0 };
const POLL_EVERY = 150;

const SUFFIX = ".incomplete";

/**
 * Takes up the download of a blob.
 * @param folder of blobs; it exists
 * @returns `undefined` once another process has finished the blob
 */
export async function openPartialFile(
  fs: FileSystem,
  folder: string,
  etag: string,
  nBytes: number,
  signal: AbortSignal | undefined,
): Promise<PartialBlob | undefined> {
  const blob = `${folder}/${etag}`;
  const own = `${blob}.${hostName()}-${processId()}-${randomName()}${SUFFIX}`;
  for (;;) {
    const stat = await fs.stat(blob).catch(() => undefined);
    if (stat?.isFile() === true && stat.size === nBytes) return undefined;
    const others = await findPartials(fs, folder, etag);
    const abandoned = others.filter(({ isAlive }) => !isAlive);
    if (abandoned.length < others.length) {
      await wait(POLL_EVERY, signal);
      continue;
    }
    const largest = abandoned.sort((a, b) => b.nBytes - a.nBytes)[0];
    if (largest !== undefined) {
      const isTaken = await fs.rename(largest.path, own).then(
        () => true,
        (cause: unknown) => {
          if (isMissing(cause)) return false;
          throw writeFailure(largest.path, cause);
        },
      );
      if (!isTaken) continue;
      for (const { path } of abandoned) {
        if (path !== largest.path) await fs.rm(path, { force: true }).catch(() => {});
      }
      return openOwn(fs, own, blob, nBytes, "r+");
    }
    const partial = await openOwn(fs, own, blob, nBytes, "wx+");
    // Two may have found nothing at the same moment: the first by name goes on, the other waits for it.
    const rivals = (await findPartials(fs, folder, etag)).filter(({ path }) => path !== own);
    if (rivals.some(({ path, isAlive }) => isAlive && path < own)) {
      await partial.discard();
      continue;
    }
    try {
      await partial.seed(`${blob}${SUFFIX}`);
    } catch (error) {
      await partial.discard();
      throw error;
    }
    return partial;
  }
}

interface FoundPartial {
  readonly path: string;
  readonly nBytes: number;
  readonly isAlive: boolean;
}

/** Downloads of the same content, going on or abandoned. Python's own are not among them. */
async function findPartials(fs: FileSystem, folder: string, etag: string): Promise<FoundPartial[]> {
  const found: FoundPartial[] = [];
  for (const name of await fs.readdir(folder)) {
    const label = name.startsWith(`${etag}.`) && name.endsWith(SUFFIX) && name.split(".").at(-2);
    const match = label ? /^(\w+)-(\d+)-\w+$/.exec(label) : null;
    if (match === null) continue;
    const path = `${folder}/${name}`;
    const stat = await fs.stat(path).catch(() => undefined);
    if (stat === undefined) continue;
    const owner = match[1] === hostName() ? stateOf(Number(match[2])) : "unknown";
    const isAlive = Date.now() - stat.mtimeMs < STALE_AFTER[owner];
    found.push({ path, nBytes: stat.size, isAlive });
  }
  return found;
}

async function openOwn(
  fs: FileSystem,
  path: string,
  blob: string,
  nBytes: number,
  flags: "r+" | "wx+",
): Promise<PartialFile> {
  try {
    const file = await fs.open(path, flags);
    const { size, ino } = await file.stat();
    await file.utimes(new Date(), new Date());
    return new PartialFile({ fs, file, path, blob, size, ino, wanted: nBytes });
  } catch (cause) {
    throw writeFailure(path, cause);
  }
}

interface PartialFileParts {
  readonly fs: FileSystem;
  readonly file: FileHandle;
  readonly path: string;
  readonly blob: string;
  readonly size: number;
  readonly ino: number;
  /** Of the complete blob, in bytes. */
  readonly wanted: number;
}

class PartialFile implements PartialBlob {
  readonly #parts: PartialFileParts;
  readonly #timer: ReturnType<typeof setInterval>;
  #nBytes: number;
  #isOpen = true;

  constructor(parts: PartialFileParts) {
    this.#parts = parts;
    this.#nBytes = parts.size;
    const touch = (): void => {
      const now = new Date();
      void this.#parts.file.utimes(now, now).catch(() => {});
    };
    this.#timer = setInterval(touch, TOUCH_EVERY);
    // A process that has nothing else to do may end.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  get nBytes(): number {
    return this.#nBytes;
  }

  /** Begins with what Python's tools have left, if they have. */
  async seed(path: string): Promise<void> {
    const { fs, wanted } = this.#parts;
    const stat = await fs.stat(path).catch(() => undefined);
    if (stat === undefined || !stat.isFile() || stat.size === 0 || stat.size > wanted) return;
    const source = await fs.open(path, "r").catch(() => undefined);
    if (source === undefined) return;
    try {
      const buffer = new Uint8Array(1024 * 1024);
      while (this.#nBytes < stat.size) {
        const { bytesRead } = await source.read(buffer, 0, buffer.length, this.#nBytes);
        if (bytesRead === 0) return;
        await this.append(buffer.subarray(0, bytesRead));
      }
    } finally {
      await source.close();
    }
  }

  async read(offset: number, nBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(nBytes);
    const { bytesRead } = await this.#parts.file.read(bytes, 0, nBytes, offset);
    if (bytesRead === nBytes) return bytes;
    throw this.#lost("it became shorter");
  }

  async append(bytes: Uint8Array): Promise<void> {
    const { file, path } = this.#parts;
    if (this.#nBytes === this.#parts.size) await this.#checkRoom();
    await this.#checkOwned();
    try {
      let done = 0;
      while (done < bytes.length) {
        const position = this.#nBytes + done;
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position);
        done += bytesWritten;
      }
    } catch (cause) {
      // A write that stopped midway wrote the right bytes, as far as it went.
      throw writeFailure(path, cause);
    }
    this.#nBytes += bytes.length;
  }

  async reset(): Promise<void> {
    await this.#checkOwned();
    try {
      await this.#parts.file.truncate(0);
    } catch (cause) {
      throw writeFailure(this.#parts.path, cause);
    }
    this.#nBytes = 0;
  }

  async finish(): Promise<void> {
    const { fs, file, path, blob } = this.#parts;
    await this.#checkOwned();
    try {
      await file.sync();
      await this.#close();
      await fs.rename(path, blob);
    } catch (cause) {
      throw writeFailure(blob, cause);
    }
  }

  async release(): Promise<void> {
    if (!this.#isOpen) return;
    // An empty file helps nobody.
    if (this.#nBytes === 0) return this.discard();
    // Untouched since long ago: whoever comes next may have it at once. Unless somebody has it already.
    const isOwn = await this.#checkOwned().then(
      () => true,
      () => false,
    );
    if (isOwn) await this.#parts.file.utimes(0, 0).catch(() => {});
    await this.#close();
  }

  /** Leaves no trace. */
  async discard(): Promise<void> {
    await this.#close();
    await this.#parts.fs.rm(this.#parts.path, { force: true }).catch(() => {});
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    clearInterval(this.#timer);
    await this.#parts.file.close().catch(() => {});
  }

  async #checkOwned(): Promise<void> {
    const { fs, path, ino } = this.#parts;
    const stat = await fs.stat(path).catch(() => undefined);
    if (stat === undefined) throw this.#lost("it was taken over by another process or removed");
    if (stat.ino !== ino) throw this.#lost("another file has its place");
  }

  /** Better to know at once than after an hour. */
  async #checkRoom(): Promise<void> {
    const { fs, path, wanted } = this.#parts;
    const free = await fs.statfs(path).then(
      ({ bavail, bsize }) => bavail * bsize,
      () => undefined,
    );
    const missing = wanted - this.#nBytes;
    if (free !== undefined && free < missing) {
      throw noSpace(path, `${free} bytes free of ${missing} that are still needed`);
    }
  }

  #lost(found: string): TureenError {
    return new TureenError("SOURCE_WRITE_FAILED", "the unfinished download was lost", {
      found,
      where: this.#parts.path,
      hint: "Try again: it goes on with what is there.",
    });
  }
}

function stateOf(pid: number): "alive" | "gone" | "unknown" {
  try {
    globalThis.process.kill(pid, 0);
    return "alive";
  } catch (cause) {
    return codeOf(cause) === "ESRCH" ? "gone" : "unknown"; // Deno may not be permitted to look
  }
}

function processId(): number {
  return globalThis.process?.pid ?? 0;
}

/** Only letters and digits; hosts that will not tell are all one host. */
function hostName(): string {
  try {
    return findBuiltin("node:os")?.hostname().replace(/\W|_/g, "").slice(0, 32) || "host";
  } catch {
    return "host";
  }
}

function randomName(): string {
  return Math.random().toString(36).slice(2, 10) || "0";
}
