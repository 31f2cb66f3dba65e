// Blobs and Files, as browsers hand them out. Only the slices that are asked for are read.
import { TureenError } from "../errors.ts";
import { createByteSource, shortRead } from "./byte-source.ts";
import type { ByteSource } from "./source.ts";

/** A source over a Blob or File. */
export function openBlob(name: string, blob: Blob): ByteSource {
  return createByteSource(name, blob.size, {
    async read(offset, nBytes) {
      let bytes: Uint8Array;
      try {
        bytes = new Uint8Array(await blob.slice(offset, offset + nBytes).arrayBuffer());
      } catch (cause) {
        throw new TureenError("SOURCE_READ_FAILED", `${name} could not be read`, {}, { cause });
      }
      if (bytes.byteLength !== nBytes) throw shortRead(name, nBytes, bytes.byteLength);
      return bytes;
    },
  });
}
