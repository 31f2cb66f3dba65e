// The little that browsers' storage must offer, so that the cache's logic is written and tested once: named pieces of bytes,
// each written in whole or not at all, and a lock that dies with its tab.

/** A piece as it is read in whole. */
export interface Piece extends Pick<Blob, "size" | "text" | "arrayBuffer"> {
  /** Into memory at hand, of its size, where that saves something. */
  readInto?(bytes: Uint8Array): Promise<void>;
}

/** Named pieces of bytes. Names are like paths: segments without `..`, `/` between them. */
export interface PieceStore {
  /** For messages. */
  readonly name: string;
  get(key: string): Promise<Piece | undefined>;
  /** Writes in whole or fails. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  delete(key: string): Promise<void>;
  /** All keys that begin with the prefix, in no order. */
  keys(prefix: string): Promise<string[]>;
  /** How many more bytes fit, where the host tells. */
  freeBytes?(): Promise<number | undefined>;
  /** SHA-256 in lower-case hexadecimal, where the host has a faster one than Web Crypto's. */
  hash?(bytes: Uint8Array): string;
}

/** Pieces of which parts can be read. */
export interface KeyStore extends PieceStore {
  get(key: string): Promise<Blob | undefined>;
}

/** Runs at most one holder of a name at a time, in all tabs and workers of an origin. */
export interface LockManager {
  /** Waits for the lock, and gives what lets go of it. */
  acquire(name: string, signal: AbortSignal | undefined): Promise<() => void>;
}

/** What a piece says. Another tab may replace it while it is read: then it is read again. */
export async function readText(
  store: Pick<PieceStore, "get">,
  key: string,
): Promise<string | undefined> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await (await store.get(key))?.text();
    } catch (error) {
      const { name } = error as { name?: unknown };
      const isReplaced = name === "NotFoundError" || name === "NotReadableError";
      if (!isReplaced || attempt >= 10) throw error;
    }
  }
}
