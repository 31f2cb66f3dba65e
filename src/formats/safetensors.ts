// Opens one safetensors file as a checkpoint. Only the header is read; tensors are read by range when asked for.
import { TureenError } from "../errors.ts";
import { describeForeignContent, FOREIGN_CONTENT_BYTES } from "../sources/foreign-content.ts";
import type { ByteSource, ReadOptions } from "../sources/source.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { MAX_HEADER_BYTES, parseHeader } from "./safetensors-header.ts";

/**
 * Reads and checks the header. On success the checkpoint owns the source and closes it; on failure the source is closed.
 * @throws TureenError `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export async function openSafetensors(
  source: ByteSource,
  options?: ReadOptions,
): Promise<Checkpoint> {
  try {
    return await open(source, options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function open(source: ByteSource, options?: ReadOptions): Promise<Checkpoint> {
  const headerBytes = await readHeaderLength(source, options);
  const dataStart = 8 + headerBytes;
  const json = await source.read(8, headerBytes, options);
  const { tensors, metadata } = parseHeader(json, source.size - dataStart, source.name);
  return {
    name: source.name,
    tensors,
    metadata,
    identity: source.identity,
    async read(name, offset = 0, nBytes, options) {
      const tensor = tensors.get(name);
      if (tensor === undefined) {
        const where = source.name;
        throw new TureenError("MODEL_TENSOR_MISSING", `there is no tensor ${name}`, { where });
      }
      const length = nBytes ?? tensor.nBytes - offset;
      if (!(offset >= 0 && length >= 0 && offset + length <= tensor.nBytes)) {
        throw new TureenError("SOURCE_READ_FAILED", "a read outside the tensor", {
          expected: `a range within ${tensor.nBytes} bytes`,
          found: `${length} bytes from ${offset}`,
          where: `${name} in ${source.name}`,
        });
      }
      return source.read(dataStart + tensor.begin + offset, length, options);
    },
    settle: async () => source.settle?.(),
    close: () => source.close(),
  };
}

async function readHeaderLength(source: ByteSource, options?: ReadOptions): Promise<number> {
  const where = source.name;
  if (source.size === 0) throw new TureenError("FORMAT_INVALID", "the file is empty", { where });
  const head = await source.read(0, Math.min(source.size, FOREIGN_CONTENT_BYTES), options);
  const foreign = describeForeignContent(head);
  if (foreign !== undefined) {
    throw new TureenError("FORMAT_INVALID", "this is not a safetensors file", {
      expected: "a safetensors header",
      found: foreign.found,
      where,
      hint: foreign.hint,
    });
  }
  if (source.size < 8) {
    throw new TureenError("FORMAT_INVALID", "the file is truncated", {
      expected: "at least 8 bytes",
      found: `${source.size} bytes`,
      where,
    });
  }
  const length = new DataView(head.buffer, head.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES) {
    throw new TureenError("FORMAT_INVALID", "the header is too large", {
      expected: `at most ${MAX_HEADER_BYTES} bytes`,
      found: `${length} bytes`,
      where,
      hint: "This is probably not a safetensors file.",
    });
  }
  if (Number(length) > source.size - 8) {
    throw new TureenError("FORMAT_INVALID", "the file is truncated within its header", {
      expected: `${length} bytes of header`,
      found: `${source.size - 8} bytes`,
      where,
      hint: "Download it again.",
    });
  }
  return Number(length);
}
