// Writes safetensors as a stream: the header first, then each tensor's bytes as they are produced, so that a model larger
// than memory can be written.
import { TureenError } from "../errors.ts";
import type { DType } from "./checkpoint.ts";
import { isDType, isIndex, tensorBytes } from "./dtype.ts";
import { MAX_HEADER_BYTES } from "./safetensors-header.ts";

/** A tensor's bytes: little-endian, row-major, whole or in pieces. */
export type TensorBytes = Uint8Array | Promise<Uint8Array> | AsyncIterable<Uint8Array>;

/** One tensor of a file to be written. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Called once, when its turn has come. */
  readonly data: () => TensorBytes;
}

/**
 * Writes tensors in the order given. The header is padded with spaces so that data starts at a multiple of 8.
 * @param metadata the header's `__metadata__`; left out if empty
 * @throws TureenError `FORMAT_INVALID` for duplicate names, unusable shapes, and data of the wrong size
 */
export async function* writeSafetensors(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): AsyncGenerator<Uint8Array, void> {
  yield makeHeader(tensors, metadata);
  for (const tensor of tensors) {
    const expected = tensorBytes(tensor.dtype, tensor.shape) ?? 0;
    let written = 0;
    const data = await tensor.data();
    for await (const piece of data instanceof Uint8Array ? [data] : data) {
      written += piece.byteLength;
      if (written > expected) break;
      if (piece.byteLength > 0) yield piece;
    }
    if (written !== expected) {
      throw new TureenError("FORMAT_INVALID", "a tensor's data does not fill its shape", {
        expected: `${expected} bytes for ${tensor.dtype} [${tensor.shape.join(", ")}]`,
        found: written > expected ? `${written} bytes or more` : `${written} bytes`,
        where: tensor.name,
      });
    }
  }
}

/** Size of the file that `writeSafetensors` writes, in bytes. */
export function safetensorsSize(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): number {
  let size = makeHeader(tensors, metadata).byteLength;
  for (const { dtype, shape } of tensors) size += tensorBytes(dtype, shape) ?? 0;
  return size;
}

/** The whole stream in memory. */
export async function collectBytes(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const piece of pieces) {
    parts.push(piece);
    size += piece.byteLength;
  }
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.byteLength;
  }
  return bytes;
}

function makeHeader(
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const entries: string[] = [];
  if (Object.keys(metadata).length > 0) {
    entries.push(`"__metadata__":${JSON.stringify(metadata)}`);
  }
  const names = new Set(["__metadata__"]);
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    if (names.has(name)) throw unusable("its name is taken", name);
    names.add(name);
    if (!isDType(dtype)) throw unusable(`unknown type ${dtype}`, name);
    const nBytes = shape.every(isIndex) ? tensorBytes(dtype, shape) : undefined;
    const end = begin + (nBytes ?? Number.NaN);
    if (!Number.isSafeInteger(end)) throw unusable(`its shape is [${shape.join(", ")}]`, name);
    const info = { dtype, shape, data_offsets: [begin, end] };
    entries.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`);
    begin = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(",")}}`);
  const length = Math.ceil(json.byteLength / 8) * 8;
  if (length > MAX_HEADER_BYTES) throw unusable("the header would be too large", "header");
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  return bytes;
}

function unusable(reason: string, where: string): TureenError {
  return new TureenError("FORMAT_INVALID", `the tensor cannot be written: ${reason}`, { where });
}
