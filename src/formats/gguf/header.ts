// The header of a GGUF file: metadata, and where tensors lie. It comes from strangers, so every count, length and offset is
// checked against the others and against the size of the file before anything is allocated or read.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 1 to 3).
import { TureenError } from "../../errors.ts";
import { describeForeignContent } from "../../sources/foreign-content.ts";
import type { ByteSource, ReadOptions } from "../../sources/source.ts";
import { Cursor, EndOfBuffer } from "./cursor.ts";
import { findGgmlType, type GgmlType } from "./types.ts";
import { type MetadataValue, readValue } from "./values.ts";

/** Vocabulary and merges lie in the header: Gemma's takes 20 MB. As for safetensors, it must not let a file allocate at will. */
export const MAX_HEADER_BYTES = 100_000_000;
/** Files in use have some 50 keys. */
const MAX_KEYS = 65_536;
/** Llama 3.1 405B has 1138 tensors, the largest mixtures of experts some 2000. */
const MAX_TENSORS = 65_536;
/** The specification's longest key. */
const MAX_KEY_BYTES = 65_535;
/** ggml's own limit is 64, in forks 128. */
const MAX_NAME_BYTES = 256;
/** ggml's. */
const MAX_DIMENSIONS = 4;
/** 32 wherever nobody chose another; a page or a disk's block might be chosen. */
const MAX_ALIGNMENT = 1 << 20;
const DEFAULT_ALIGNMENT = 32;

/** Bytes of the first read, and how much more each further one reads. */
const FIRST_READ = 64 * 1024;
const GROWTH = 4;

export interface GgufTensor {
  /** ggml's, e.g. `blk.0.attn_q.weight`. */
  readonly name: string;
  readonly type: GgmlType;
  /** Row-major: ggml's dimensions in reverse. */
  readonly shape: readonly number[];
  /** In bytes from the beginning of the file. */
  readonly begin: number;
  readonly nBytes: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** By name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/**
 * Reads and checks the header of a GGUF file. Reads little more than the header.
 * @throws TureenError `FORMAT_INVALID`; `FORMAT_UNSUPPORTED` for big-endian files, later versions and unknown tensor types
 */
export async function readGgufHeader(
  source: ByteSource,
  options?: ReadOptions,
): Promise<GgufHeader> {
  const { size, name } = source;
  let bytes = new Uint8Array(0);
  for (let wanted = Math.min(size, FIRST_READ); ; ) {
    const more = await source.read(bytes.length, wanted - bytes.length, options);
    const longer = new Uint8Array(wanted);
    longer.set(bytes);
    longer.set(more, bytes.length);
    bytes = longer;
    try {
      return parseGgufHeader(bytes, size, name);
    } catch (error) {
      if (!(error instanceof EndOfBuffer)) throw error;
      const most = Math.min(size, MAX_HEADER_BYTES);
      wanted = Math.min(most, Math.max(error.needed, bytes.length * GROWTH));
    }
  }
}

/**
 * Parses and checks a header.
 * @param bytes the beginning of the file
 * @param fileBytes size of the file
 * @throws TureenError as `readGgufHeader`; EndOfBuffer if the header goes on behind `bytes`, within file and limit
 */
export function parseGgufHeader(bytes: Uint8Array, fileBytes: number, file: string): GgufHeader {
  const cursor = new Cursor(bytes, { fileBytes, maxBytes: MAX_HEADER_BYTES, file });
  checkMagic(cursor, bytes, fileBytes, file);
  const version = checkVersion(cursor.u32(), file);
  cursor.hasShortCounts = version === 1;
  const tensorCount = checkCount(cursor.count(), MAX_TENSORS, "tensors", file);
  const keyCount = checkCount(cursor.count(), MAX_KEYS, "metadata keys", file);
  const metadata = new Map<string, MetadataValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = cursor.text(MAX_KEY_BYTES, "metadata key");
    if (metadata.has(key)) throw invalid("a metadata key occurs twice", { found: key, file });
    metadata.set(key, readValue(cursor, key));
  }
  const alignment = checkAlignment(metadata.get("general.alignment"), file);
  const names = new Set<string>();
  const listed: GgufTensor[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensor(cursor, alignment, file);
    if (names.has(tensor.name)) {
      throw invalid("a tensor occurs twice", { found: tensor.name, file });
    }
    names.add(tensor.name);
    listed.push(tensor);
  }
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const placed = listed.map((tensor) => ({ ...tensor, begin: dataStart + tensor.begin }));
  const inOrder = checkLayout(placed, fileBytes, file);
  return { version, metadata, tensors: new Map(inOrder.map((tensor) => [tensor.name, tensor])) };
}

function checkMagic(cursor: Cursor, bytes: Uint8Array, fileBytes: number, file: string): void {
  if (fileBytes === 0) throw invalid("the file is empty", { file });
  const magic = bytes.subarray(0, 4);
  if (magic.length === 4 && new TextDecoder().decode(magic) === "GGUF") {
    cursor.skip(4);
    return;
  }
  const foreign = describeForeignContent(bytes);
  throw new TureenError("FORMAT_INVALID", "this is not a GGUF file", {
    expected: "the letters GGUF at its beginning",
    found: foreign?.found ?? `the bytes ${[...magic].map((byte) => byte.toString(16)).join(" ")}`,
    where: file,
    ...(foreign === undefined ? {} : { hint: foreign.hint }),
  });
}

function checkVersion(version: number, file: string): number {
  if (version >= 1 && version <= 3) return version;
  // A version has its low half first; a number of which only the high half is there was written the other way round.
  const isBigEndian = version !== 0 && (version & 0xffff) === 0;
  throw new TureenError(
    isBigEndian || version > 3 ? "FORMAT_UNSUPPORTED" : "FORMAT_INVALID",
    isBigEndian ? "big-endian GGUF files are not read" : "the file has an unknown GGUF version",
    {
      expected: isBigEndian ? "a little-endian file" : "version 1, 2 or 3",
      found: isBigEndian ? "a big-endian one" : String(version),
      where: file,
    },
  );
}

function checkCount(count: number, most: number, what: string, file: string): number {
  if (count <= most) return count;
  throw invalid(`the header announces too many ${what}`, {
    expected: `at most ${most}`,
    found: String(count),
    file,
  });
}

function checkAlignment(value: MetadataValue | undefined, file: string): number {
  if (value === undefined) return DEFAULT_ALIGNMENT;
  const isUsable =
    typeof value === "number" &&
    Number.isInteger(Math.log2(value)) &&
    value >= 1 &&
    value <= MAX_ALIGNMENT;
  if (isUsable) return value;
  throw invalid("general.alignment is not usable", {
    expected: `a power of two up to ${MAX_ALIGNMENT}`,
    found: typeof value === "object" ? "a list" : String(value),
    file,
  });
}

/** `begin` counts from the start of the data. */
function readTensor(cursor: Cursor, alignment: number, file: string): GgufTensor {
  const name = cursor.text(MAX_NAME_BYTES, "tensor name");
  const where = `${name} in ${file}`;
  const dimensions = cursor.u32();
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
    throw invalid("a tensor has too few or too many dimensions", {
      expected: `1 to ${MAX_DIMENSIONS}`,
      found: String(dimensions),
      file: where,
    });
  }
  const shape: number[] = [];
  for (let i = 0; i < dimensions; i++) shape.unshift(cursor.count());
  const type = findGgmlType(cursor.u32(), where);
  const begin = cursor.u64();
  const cols = shape.at(-1)!;
  if (cols % type.values !== 0) {
    throw invalid("a tensor's rows are no whole blocks", {
      expected: `a multiple of ${type.values} columns for ${type.name}`,
      found: String(cols),
      file: where,
    });
  }
  let nBytes = (cols / type.values) * type.bytes;
  for (const size of shape.slice(0, -1)) nBytes *= size;
  if (!Number.isSafeInteger(nBytes) || !Number.isSafeInteger(begin)) {
    throw invalid("a tensor is larger than any file", {
      found: `[${shape.join(", ")}]`,
      file: where,
    });
  }
  if (begin % alignment !== 0) {
    throw invalid("a tensor's data is not aligned", {
      expected: `a multiple of ${alignment}`,
      found: `offset ${begin}`,
      file: where,
    });
  }
  return { name, type, shape, begin, nBytes };
}

/** Tensors may have gaps between them (alignment), but neither overlap nor leave the file. @returns them in order */
function checkLayout(
  tensors: readonly GgufTensor[],
  fileBytes: number,
  file: string,
): GgufTensor[] {
  const sorted = tensors.toSorted((a, b) => a.begin - b.begin || a.nBytes - b.nBytes);
  let end = 0;
  let previous = "";
  for (const { name, begin, nBytes } of sorted) {
    if (begin < end) {
      throw invalid("two tensors overlap", { found: `${previous} and ${name}`, file });
    }
    end = begin + nBytes;
    previous = name;
    if (end <= fileBytes) continue;
    throw invalid("the file is truncated", {
      expected: `${end} bytes for ${name}`,
      found: `${fileBytes} bytes`,
      file,
      hint: "Download it again.",
    });
  }
  return sorted;
}

function invalid(
  what: string,
  { file, ...details }: { expected?: string; found?: string; file: string; hint?: string },
): TureenError {
  return new TureenError("FORMAT_INVALID", what, { ...details, where: file });
}
