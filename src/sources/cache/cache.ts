// What a cache of hub files is, on a disk or in a browser. Files are kept by the hash of their content (blobs), named by
// commit and path (snapshots), and branches by the commit they last pointed to (refs).
import type { ByteSource, ReadOptions } from "../source.ts";
import type { PieceStore } from "./key-store.ts";

/** A streaming hash. */
export interface StreamingHash {
  update(bytes: Uint8Array): void;
  /** In lower-case hexadecimal. */
  digest(): Promise<string>;
}

/** The part of a file that has arrived: always bytes from its beginning. Owned by one download at a time. */
export interface PartialBlob {
  /** Bytes kept so far, also from a download that was cut off earlier. */
  readonly nBytes: number;
  read(offset: number, nBytes: number): Promise<Uint8Array>;
  /** @throws TureenError `SOURCE_WRITE_FAILED`, also if there is no room; what was kept stays good */
  append(bytes: Uint8Array): Promise<void>;
  /** Forgets all bytes. */
  reset(): Promise<void>;
  /** Turns the complete and checked content into a blob, in one step. */
  finish(): Promise<void>;
  /** Gives up ownership; bytes are kept for the next attempt. Harmless after `finish`. */
  release(): Promise<void>;
}

/** One commit of a repository, as far as it is in the cache. */
export interface CachedRevision {
  readonly commit: string;
  /** Branches and tags that pointed to it when last asked. */
  readonly refs: readonly string[];
  /** Paths of its files. */
  readonly files: readonly string[];
  /** Content, in bytes. Revisions may share content. */
  readonly nBytes: number;
  /** When one of its files was last opened, in ms since 1970, as far as the storage tells; else 0. */
  readonly lastUsed: number;
}

/** A repository in the cache; or of a model that is not, what was packed from it. */
export interface CachedRepo {
  /** `org/name`; of a model from elsewhere its path or URL. */
  readonly repo: string;
  /** All that it takes, each content counted once, cut-off downloads and packed weights included. */
  readonly nBytes: number;
  /** Of that, downloads that were cut off. */
  readonly incompleteBytes: number;
  /** Of that, packed weights. */
  readonly packedBytes: number;
  /** As of revisions, and when a download last went on or packed weights were last read. */
  readonly lastUsed: number;
  readonly revisions: readonly CachedRevision[];
}

/** What was done to make a cache smaller. */
export interface CacheTrim {
  /** That the cache still takes. More than the limit if the rest is in use. */
  readonly nBytes: number;
  readonly freed: number;
  /** Without a commit: a repository of which only unfinished downloads or packed weights were there. */
  readonly removed: readonly { readonly repo: string; readonly commit: string | undefined }[];
}

/** A cache of files from a hub. Several programs, threads or tabs may use one at once. */
export interface HubCache {
  /** For messages and people: where it is. */
  readonly name: string;
  /** Where packed weights are kept, if they are. */
  readonly packed?: PieceStore | undefined;
  /** What a branch or tag pointed to when last asked. */
  readRef(repo: string, revision: string): Promise<string | undefined>;
  writeRef(repo: string, revision: string, commit: string): Promise<void>;
  /** A file of a commit; `undefined` if it is not in the cache. */
  open(
    repo: string,
    commit: string,
    path: string,
    options?: ReadOptions,
  ): Promise<ByteSource | undefined>;
  /** Whether the commit is known to have no such file. */
  isAbsent(repo: string, commit: string, path: string): Promise<boolean>;
  markAbsent(repo: string, commit: string, path: string): Promise<void>;
  /** Names content that is there as a file of a commit. False if there is no such content, of that size. */
  link(repo: string, commit: string, path: string, etag: string, nBytes: number): Promise<boolean>;
  /**
   * Begins or goes on with a download. Waits while another program does the same download.
   * @returns `undefined` if that other program has finished it
   */
  openPartial(
    repo: string,
    etag: string,
    nBytes: number,
    options?: ReadOptions,
  ): Promise<PartialBlob | undefined>;
  createHash(algorithm: "sha1" | "sha256"): Promise<StreamingHash>;
  /** What is in the cache, by name. */
  list(): Promise<readonly CachedRepo[]>;
  /**
   * Removes a repository, or one revision (commit, branch or tag) and the content that no other revision shares; with it goes
   * what was packed from it.
   * @returns bytes that became free
   * @throws TureenError `SOURCE_NOT_FOUND` if it is not in the cache
   */
  remove(repo: string, revision?: string): Promise<number>;
  /**
   * Removes revisions, the one used longest ago first, until the cache takes at most so many bytes. What any program has open, is
   * downloading or has used within five minutes stays.
   * @throws TureenError `OPTION_INVALID`
   */
  trim(limit: number): Promise<CacheTrim>;
}
