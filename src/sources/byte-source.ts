// What all byte sources share: the checks before a read. Each kind only adds how bytes are fetched.
import { TureenError, throwIfAborted } from "../errors.ts";
import type { ByteSource, ReadOptions } from "./source.ts";

/** How one kind of source gets at its bytes. Ranges are checked and never empty. */
export interface ByteReader {
  /** As `ByteSource.identity`. */
  readonly identity?: string | undefined;
  /** @param into as in `ReadOptions` */
  read(
    offset: number,
    nBytes: number,
    signal: AbortSignal | undefined,
    into?: Uint8Array,
  ): Promise<Uint8Array>;
  /** As `ByteSource.settle`. */
  settle?(): Promise<void>;
  close?(): Promise<void>;
}

/** Wraps a reader with range, abort and use-after-close checks. */
export function createByteSource(name: string, size: number, reader: ByteReader): ByteSource {
  let closed = false;
  return {
    name,
    size,
    identity: reader.identity,
    async read(offset: number, nBytes: number, options?: ReadOptions): Promise<Uint8Array> {
      if (closed) throw new TureenError("SOURCE_READ_FAILED", `${name} is closed`);
      throwIfAborted(options?.signal);
      checkRange(name, size, offset, nBytes);
      if (nBytes === 0) return new Uint8Array(0);
      const into = options?.into;
      const fits = into !== undefined && into.length >= nBytes;
      return reader.read(offset, nBytes, options?.signal, fits ? into : undefined);
    },
    async settle(): Promise<void> {
      await reader.settle?.();
    },
    async close(): Promise<void> {
      if (closed) return;
      closed = true;
      await reader.close?.();
    },
  };
}

function checkRange(name: string, size: number, offset: number, nBytes: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(nBytes);
  if (valid && offset >= 0 && nBytes >= 0 && offset + nBytes <= size) return;
  throw new TureenError("SOURCE_READ_FAILED", "a read outside the file", {
    expected: `a range within ${size} bytes`,
    found: `${nBytes} bytes from ${offset}`,
    where: name,
  });
}

/** What `SOURCE_READ_FAILED` looks like for a file that ended early. */
export function shortRead(name: string, expected: number, found: number): TureenError {
  return new TureenError("SOURCE_READ_FAILED", "the file ended early", {
    expected: `${expected} bytes`,
    found: `${found} bytes`,
    where: name,
    hint: "It may have been truncated or replaced while being read.",
  });
}
