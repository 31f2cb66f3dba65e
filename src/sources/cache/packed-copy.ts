// Packed weights, kept in parts: written while a model is loaded from its files, read when it is loaded again. It only ever
// repeats what can be made anew, so whatever is missing, cut, damaged or of another version counts as not there.
//
//   packed/COPY/about          whose it is; written first
//   packed/COPY/0, 1, …        parts of equal size, but the last
//   packed/COPY/complete       of what it was made, and the hash of every part; written last
//   packed/COPY/used           when it was last read or begun, in ms since 1970
//
// No lock: who makes the same copy writes the same bytes, and a mixture of two is found by its hashes.
import { type PieceStore, readText } from "./key-store.ts";

/** Up to three are in memory at once. */
const PART_BYTES = 8 * 1024 * 1024;

/** Whose packed weights these are. There is one copy for each. */
export interface PackedName {
  /** Name of the cache of files that they are kept beside. */
  readonly cache: string;
  /** As `FileOrigin`. */
  readonly model: string;
  readonly commit?: string | undefined;
  readonly folder?: string | undefined;
  /** How they are packed. */
  readonly layout: string;
}

/** What a copy must be to be worth anything. */
export interface PackedContent {
  /** Names all that decides over the bytes. */
  readonly identity: string;
  readonly nBytes: number;
}

/** Of `complete`. */
interface Mark extends PackedContent {
  readonly partBytes: number;
  /** SHA-256 of each part. */
  readonly parts: readonly string[];
}

/** A copy that turns out to be unusable: make it anew. */
export class PackedUnreadable extends Error {}

/** @returns the copy's folder */
export async function packedKey(name: PackedName): Promise<string> {
  const { cache, model, commit, folder, layout } = name;
  const text = JSON.stringify([cache, model, commit, folder, layout]);
  return `packed/${(await sha256(new TextEncoder().encode(text))).slice(0, 32)}`;
}

/** Reads a copy from its beginning to its end. */
export class PackedReader {
  readonly #store: PieceStore;
  readonly #folder: string;
  readonly #mark: Mark;
  /** The current part lies in one, the next one is read to the other. */
  readonly #buffers: readonly [Uint8Array, Uint8Array];
  #next: Promise<Uint8Array>;
  #index = 0;
  #part: Uint8Array = new Uint8Array(0);

  /** @returns `undefined` if there is no complete copy of that content */
  static async open(
    store: PieceStore,
    name: PackedName,
    content: PackedContent,
  ): Promise<PackedReader | undefined> {
    try {
      const folder = await packedKey(name);
      const mark = JSON.parse((await readText(store, `${folder}/complete`)) ?? "null");
      if (!isMarkOf(mark, content)) return undefined;
      await put(store, `${folder}/used`, String(Date.now())).catch(() => {}); // read-only ones serve
      return new PackedReader(store, folder, mark);
    } catch {
      return undefined;
    }
  }

  private constructor(store: PieceStore, folder: string, mark: Mark) {
    this.#store = store;
    this.#folder = folder;
    this.#mark = mark;
    const room = Math.min(mark.partBytes, mark.nBytes);
    this.#buffers = [new Uint8Array(room), new Uint8Array(room)];
    this.#next = this.#fetch(0);
  }

  /** The next bytes, in pieces that are good until the next is asked for. @throws PackedUnreadable */
  async *read(nBytes: number): AsyncGenerator<Uint8Array, void> {
    for (let left = nBytes; left > 0; ) {
      if (this.#part.length === 0) {
        this.#part = await this.#next;
        this.#next = this.#fetch(++this.#index);
      }
      const piece = this.#part.subarray(0, left);
      this.#part = this.#part.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  #fetch(index: number): Promise<Uint8Array> {
    const part = this.#readPart(index).catch((cause: unknown) => {
      if (cause instanceof PackedUnreadable) throw cause;
      throw new PackedUnreadable(String(cause), { cause });
    });
    part.catch(() => {}); // seen when its turn comes
    return part;
  }

  async #readPart(index: number): Promise<Uint8Array> {
    const { nBytes, partBytes, parts } = this.#mark;
    const wanted = Math.min(partBytes, nBytes - index * partBytes);
    const part = wanted > 0 ? await this.#store.get(`${this.#folder}/${index}`) : undefined;
    if (part?.size !== wanted) throw new PackedUnreadable(`part ${index} is cut`);
    const bytes = this.#buffers[(index % 2) as 0 | 1].subarray(0, wanted);
    if (part.readInto) await part.readInto(bytes);
    else bytes.set(new Uint8Array(await part.arrayBuffer()));
    if ((await hashOf(this.#store, bytes)) === parts[index]) return bytes;
    throw new PackedUnreadable(`part ${index} is damaged`);
  }
}

function isMarkOf(mark: Mark | null, { identity, nBytes }: PackedContent): mark is Mark {
  if (mark?.identity !== identity || mark.nBytes !== nBytes) return false;
  const { partBytes, parts } = mark;
  if (!(Number.isSafeInteger(partBytes) && partBytes > 0 && partBytes <= PART_BYTES)) return false;
  return Array.isArray(parts) && parts.length === Math.ceil(nBytes / partBytes);
}

/** Writes a copy from its beginning to its end. What fails is told at the end. */
export class PackedWriter {
  readonly #store: PieceStore;
  readonly #name: PackedName;
  readonly #content: PackedContent;
  readonly #folder: string;
  readonly #partBytes: number;
  readonly #parts: string[] = [];
  /** One fills while the other is written. */
  #filling: Uint8Array;
  #spare: Uint8Array;
  #filled = 0;
  #written: Promise<void>;
  #failure: { readonly cause: unknown } | undefined;

  /** @param partBytes at most, and by default, 8 MiB */
  static async create(
    store: PieceStore,
    name: PackedName,
    content: PackedContent,
    partBytes: number = PART_BYTES,
  ): Promise<PackedWriter> {
    return new PackedWriter(store, name, content, await packedKey(name), partBytes);
  }

  private constructor(
    store: PieceStore,
    name: PackedName,
    content: PackedContent,
    folder: string,
    partBytes: number,
  ) {
    this.#store = store;
    this.#name = name;
    this.#content = content;
    this.#folder = folder;
    this.#partBytes = partBytes;
    const room = Math.min(partBytes, content.nBytes);
    this.#filling = new Uint8Array(room);
    this.#spare = new Uint8Array(room);
    this.#written = this.#attempt(() => this.#begin());
  }

  /** Takes the next bytes; they may change once the promise has resolved. Does nothing after a failure. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length && this.#failure === undefined; ) {
      const piece = bytes.subarray(done, done + this.#filling.length - this.#filled);
      this.#filling.set(piece, this.#filled);
      this.#filled += piece.length;
      done += piece.length;
      if (this.#filled === this.#filling.length) await this.#turn();
    }
  }

  /** Makes the copy one that can be read. @throws what writing has met; nothing is left then */
  async finish(): Promise<void> {
    if (this.#filled > 0) await this.#turn();
    await this.#written;
    await this.#attempt(async () => {
      const { nBytes } = this.#content;
      const parts = this.#parts;
      if (parts.length !== Math.ceil(nBytes / this.#partBytes)) throw new Error("it is incomplete");
      const mark: Mark = { ...this.#content, partBytes: this.#partBytes, parts };
      await put(this.#store, `${this.#folder}/complete`, JSON.stringify(mark));
    });
    if (this.#failure === undefined) return;
    await this.discard();
    throw this.#failure.cause;
  }

  /** Removes what was written. */
  async discard(): Promise<void> {
    this.#failure ??= { cause: undefined };
    await this.#written;
    await removeCopy(this.#store, this.#folder).catch(() => {});
  }

  /** An earlier copy goes first; whoever reads it meets parts that are missing, and makes its own. */
  async #begin(): Promise<void> {
    await removeCopy(this.#store, this.#folder);
    await put(this.#store, `${this.#folder}/about`, JSON.stringify(this.#name));
    await put(this.#store, `${this.#folder}/used`, String(Date.now()));
    const free = await this.#store.freeBytes?.();
    // Room for what cannot be made anew is worth more.
    if (free !== undefined && free < 2 * this.#content.nBytes) {
      throw new Error(`${free} bytes are free, and twice ${this.#content.nBytes} should be`);
    }
  }

  /** Begins to write what is filled, when the part before is written. */
  async #turn(): Promise<void> {
    await this.#written;
    const part = this.#filling.subarray(0, this.#filled);
    [this.#filling, this.#spare] = [this.#spare, this.#filling];
    this.#filled = 0;
    this.#written = this.#attempt(async () => {
      const index = this.#parts.length;
      const [hash] = await Promise.all([
        hashOf(this.#store, part),
        this.#store.put(`${this.#folder}/${index}`, part),
      ]);
      this.#parts.push(hash);
    });
  }

  async #attempt(task: () => Promise<void>): Promise<void> {
    if (this.#failure !== undefined) return;
    try {
      await task();
    } catch (cause) {
      this.#failure ??= { cause };
    }
  }
}

/** Its mark goes first, so that an interruption never leaves one that promises what is gone. */
export async function removeCopy(store: PieceStore, folder: string): Promise<void> {
  await store.delete(`${folder}/complete`);
  for (const key of await store.keys(`${folder}/`)) await store.delete(key);
}

function put(store: PieceStore, key: string, text: string): Promise<void> {
  return store.put(key, new TextEncoder().encode(text));
}

async function hashOf(store: PieceStore, bytes: Uint8Array): Promise<string> {
  return store.hash?.(bytes) ?? sha256(bytes);
}

/** In lower-case hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
