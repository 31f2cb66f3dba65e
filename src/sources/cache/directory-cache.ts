// The cache of Python's Hub tools, on a disk (Node, Deno, Bun): what either downloads, the other finds.
//
//   models--org--name/blobs/ETAG            content
//   models--org--name/snapshots/COMMIT/…    links to it
//   models--org--name/refs/main             a commit
//   models--org--name/.no_exist/COMMIT/…    empty: files that the commit does not have
//
// Everything becomes visible by a rename or a link, so whoever reads sees all of a file or nothing. Downloads in progress
// have names of their own (partial-file.ts).
import type { FileHandle } from "node:fs/promises";
import { TureenError } from "../../errors.ts";
import { findBuiltin } from "../../node-builtin.ts";
import { openDirectory } from "../directory.ts";
import { isCommit } from "../hub-reference.ts";
import type { ByteSource, ReadOptions } from "../source.ts";
import type { CachedRepo, CacheTrim, HubCache, PartialBlob, StreamingHash } from "./cache.ts";
import { listRepos, removeFromCache } from "./directory-listing.ts";
import { type FileSystem, writeFailure } from "./file-system.ts";
import type { PieceStore } from "./key-store.ts";
import { addPacked, removeWithPacked } from "./packed-listing.ts";
import { openPartialFile } from "./partial-file.ts";
import { OpenMarks, trimCache } from "./trim.ts";

/**
 * A cache in a folder, which is made when something is first kept.
 * @param fs `node:fs/promises`, or what a test puts in its place
 * @param packed where packed weights are kept; not in this folder, whose layout is not ours
 */
export function createDirectoryCache(
  root: string,
  fs: FileSystem | undefined = findBuiltin("node:fs/promises"),
  packed?: PieceStore,
): HubCache {
  if (fs === undefined) {
    throw new TureenError("OPTION_INVALID", "this host has no file system for a cache", {
      found: root,
    });
  }
  return new DirectoryCache(root.replace(/\/+$/, "") || "/", fs, packed);
}

class DirectoryCache implements HubCache {
  readonly name: string;
  readonly packed: PieceStore | undefined;
  readonly #fs: FileSystem;
  readonly #marks = new OpenMarks((path) => this.#markUsed(path));

  constructor(root: string, fs: FileSystem, packed: PieceStore | undefined) {
    this.name = root;
    this.packed = packed;
    this.#fs = fs;
  }

  async readRef(repo: string, revision: string): Promise<string | undefined> {
    const path = `${this.#folder(repo)}/refs/${revision}`;
    const text = await this.#fs.readFile(path, "utf8").catch(() => undefined);
    const commit = text?.trim();
    return commit !== undefined && isCommit(commit) ? commit : undefined;
  }

  async writeRef(repo: string, revision: string, commit: string): Promise<void> {
    await this.#writeWhole(`${this.#folder(repo)}/refs/${revision}`, commit);
  }

  async open(
    repo: string,
    commit: string,
    path: string,
    options?: ReadOptions,
  ): Promise<ByteSource | undefined> {
    const snapshot = `${this.#folder(repo)}/snapshots/${commit}`;
    const stat = await this.#fs.stat(snapshot).catch(() => undefined);
    if (stat?.isDirectory() !== true) return undefined;
    const source = await (await openDirectory(snapshot)).open(path, options);
    return source && this.#marks.add(`${snapshot}/${path}`, source);
  }

  /** By the time of access of the content, as Python's tools do; systems rarely keep it themselves. */
  async #markUsed(path: string): Promise<void> {
    const { mtime } = await this.#fs.stat(path);
    await this.#fs.utimes(path, new Date(), mtime);
  }

  async isAbsent(repo: string, commit: string, path: string): Promise<boolean> {
    const mark = `${this.#folder(repo)}/.no_exist/${commit}/${path}`;
    return (await this.#fs.stat(mark).catch(() => undefined)) !== undefined;
  }

  async markAbsent(repo: string, commit: string, path: string): Promise<void> {
    await this.#writeWhole(`${this.#folder(repo)}/.no_exist/${commit}/${path}`, "");
  }

  async link(
    repo: string,
    commit: string,
    path: string,
    etag: string,
    nBytes: number,
  ): Promise<boolean> {
    const folder = this.#folder(repo);
    const blob = `${folder}/blobs/${etag}`;
    const stat = await this.#fs.stat(blob).catch(() => undefined);
    if (stat?.isFile() !== true || stat.size !== nBytes) return false;
    const target = `${folder}/snapshots/${commit}/${path}`;
    const up = "../".repeat(path.split("/").length + 1);
    await this.#makeParent(target);
    const temporary = temporaryName(target);
    try {
      await this.#linkTo(blob, `${up}blobs/${etag}`, temporary);
      await this.#fs.rename(temporary, target);
    } catch (cause) {
      await this.#fs.rm(temporary, { force: true }).catch(() => {});
      throw writeFailure(target, cause);
    }
    return true;
  }

  /** Some systems have no symbolic links, or only for administrators; some no hard links either. */
  async #linkTo(blob: string, relative: string, target: string): Promise<void> {
    try {
      await this.#fs.symlink(relative, target);
    } catch {
      await this.#fs.link(blob, target).catch(() => this.#fs.copyFile(blob, target));
    }
  }

  async openPartial(
    repo: string,
    etag: string,
    nBytes: number,
    options: ReadOptions = {},
  ): Promise<PartialBlob | undefined> {
    const folder = `${this.#folder(repo)}/blobs`;
    await this.#make(folder);
    return openPartialFile(this.#fs, folder, etag, nBytes, options.signal);
  }

  async createHash(algorithm: "sha1" | "sha256"): Promise<StreamingHash> {
    const hash = findBuiltin("node:crypto")!.createHash(algorithm);
    return {
      update: (bytes) => void hash.update(bytes),
      digest: async () => hash.digest("hex"),
    };
  }

  async list(): Promise<readonly CachedRepo[]> {
    return addPacked(await listRepos(this.#fs, this.name), this);
  }

  remove(repo: string, revision?: string): Promise<number> {
    const remove = () => removeFromCache(this.#fs, this.name, repo, revision);
    return removeWithPacked(this, repo, revision, remove);
  }

  trim(limit: number): Promise<CacheTrim> {
    return trimCache(this, limit);
  }

  #folder(repo: string): string {
    return `${this.name}/models--${repo.replace("/", "--")}`;
  }

  async #writeWhole(path: string, text: string): Promise<void> {
    await this.#makeParent(path);
    const temporary = temporaryName(path);
    let file: FileHandle | undefined;
    try {
      file = await this.#fs.open(temporary, "wx");
      await file.writeFile(text);
      await file.close();
      await this.#fs.rename(temporary, path);
    } catch (cause) {
      await file?.close().catch(() => {});
      await this.#fs.rm(temporary, { force: true }).catch(() => {});
      throw writeFailure(path, cause);
    }
  }

  #makeParent(path: string): Promise<void> {
    return this.#make(path.slice(0, path.lastIndexOf("/")));
  }

  async #make(folder: string): Promise<void> {
    try {
      await this.#fs.mkdir(folder, { recursive: true });
    } catch (cause) {
      throw writeFailure(folder, cause);
    }
  }
}

/** Beside its target, so that a rename does not cross file systems. Listings skip it. */
function temporaryName(path: string): string {
  return `${path}.${Math.random().toString(36).slice(2, 10)}.tmp`;
}
