// Where bytes come from. Everything above this folder sees only these two contracts; hosts (Node, browsers) enter here and
// nowhere else.

import type { HubCache } from "./cache/cache.ts";

/** Options of every read. */
export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  /**
   * Memory for the result, for who reads piece after piece: at least as many bytes as are read, free until the read ends. Sources
   * that would otherwise copy into fresh memory return the beginning of it; others pay no heed.
   */
  readonly into?: Uint8Array | undefined;
}

/** Options of opening a file. */
export interface OpenFileOptions extends ReadOptions {
  /**
   * True: the file may be read while it is still arriving, before its content was checked. Whoever asks for it calls `settle`
   * before it trusts what it has read.
   */
  readonly early?: boolean | undefined;
}

/** A random-access run of bytes of known size: a file, an HTTP resource read by range, a Blob, or memory. */
export interface ByteSource {
  /** For messages: a path or URL. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** Names the content, where that costs nothing to know: another content has another one. */
  readonly identity?: string | undefined;
  /**
   * Returns exactly `nBytes` bytes from `offset`. The result may be a view of memory that the source owns: do not write to it.
   * @throws TureenError `SOURCE_READ_FAILED` if the range is outside the source or cannot be read in full.
   */
  read(offset: number, nBytes: number, options?: ReadOptions): Promise<Uint8Array>;
  /**
   * Ends the first reading of a file: waits until all of it is there and found to be what it should be, where somebody knows
   * that, and releases what was held to read fast. Without it there is nothing to wait for.
   * @throws TureenError what the download or the check met; all that was read is then worthless
   */
  settle?(): Promise<void>;
  /** Releases handles. Reading afterwards is an error. */
  close(): Promise<void>;
}

/** Where files lie, for a cache of what is made of them. */
export interface FileOrigin {
  /** `org/name`, an absolute path, or a URL. */
  readonly name: string;
  /** Of a repository of a hub. */
  readonly commit?: string | undefined;
  /** Inside the repository. */
  readonly folder?: string | undefined;
  /** The cache that keeps the files. */
  readonly cache?: HubCache | undefined;
}

/** A folder of files, wherever it lives: a directory, a URL prefix, a set of Blobs, or memory. */
export interface FileSet {
  /** For messages: a path or URL. */
  readonly name: string;
  /** `org/name`, if the files come from a model hub. */
  readonly hubId?: string | undefined;
  /** Where they can be found again. */
  readonly origin?: FileOrigin | undefined;
  /** The file that a caller named, where it was one rather than the folder. */
  readonly named?: string | undefined;
  /** Names of the files in the folder, not of its folders, where that can be known. */
  list?(options?: ReadOptions): Promise<readonly string[]>;
  /** Opens a file by its path inside the folder; `undefined` if there is none. */
  open(path: string, options?: OpenFileOptions): Promise<ByteSource | undefined>;
}
