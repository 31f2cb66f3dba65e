// Bytes that are already in memory.
import { createByteSource } from "./byte-source.ts";
import type { ByteSource } from "./source.ts";

/** A source over bytes in memory. Reads are views, not copies. */
export function openMemory(name: string, bytes: Uint8Array | ArrayBuffer): ByteSource {
  const view = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  return createByteSource(name, view.byteLength, {
    read: async (offset, nBytes) => view.subarray(offset, offset + nBytes),
  });
}
