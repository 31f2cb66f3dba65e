// GGUF files as a checkpoint: transformers' names, transformers' order of rows, and floats. A quantized tensor reads as F32; `stored`
// says how the file holds it.
import { rowBytes } from "../../backend/block-rows.ts";
import { TureenError } from "../../errors.ts";
import type { ByteSource, ReadOptions } from "../../sources/source.ts";
import type { Checkpoint, StoredType, TensorInfo } from "../checkpoint.ts";
import { type BlockName, dequantize } from "./blocks.ts";
import { canonicalType, toCanonical } from "./canonical.ts";
import type { GgufHeader, GgufTensor } from "./header.ts";
import { hasOneAdded, isPermuted, permutedRow, ROPE_FACTORS, toHubName } from "./names.ts";
import type { GgmlName } from "./types.ts";

/** An open file, and its header. The checkpoint owns the file. */
export interface GgufFile {
  readonly source: ByteSource;
  readonly header: GgufHeader;
}

export interface GgufOptions {
  /** For messages: the model. */
  readonly name: string;
  readonly architecture: string;
  /** Rows of a head, where rows have to be put in order. Without it such tensors cannot be read. */
  readonly headDim?: number | undefined;
  /** Default: `toHubName` of the architecture */
  readonly rename?: (name: string) => string;
}

/** What a file's type becomes where weights are held as the file holds them. */
const HELD: Readonly<Record<BlockName, StoredType["held"]>> = {
  Q8_0: "q8",
  Q5_0: "q8",
  Q5_1: "q8",
  Q5_K: "q8",
  Q6_K: "q8",
  IQ4_NL: "q8",
  IQ4_XS: "q8",
  Q4_0: "q4",
  Q4_1: "q4",
  Q4_K: "q4",
  Q3_K: "q4",
  Q2_K: "q4",
};

/** A tensor, and where its bytes are. */
interface Place {
  readonly info: TensorInfo;
  readonly tensor: GgufTensor;
  readonly source: ByteSource;
  /** As whole rows: rows of a matrix, elements of what is permuted, else one. */
  readonly rows: number;
  readonly cols: number;
  /** Rows of a head in the file's other order. */
  readonly headDim: number | undefined;
  /** The file has 1 more. */
  readonly hasOneAdded: boolean;
}

/**
 * Joins files (one, or all shards).
 * @throws TureenError `FORMAT_INVALID` if a tensor is in two of them. The files stay open, and the caller's to close.
 */
export function createGgufCheckpoint(files: readonly GgufFile[], options: GgufOptions): Checkpoint {
  const places = new Map<string, Place>();
  for (const { source, header } of files) {
    for (const tensor of header.tensors.values()) {
      if (tensor.name === ROPE_FACTORS) continue;
      const place = locate(tensor, source, options);
      const other = places.get(place.info.name);
      if (other !== undefined) {
        throw new TureenError("FORMAT_INVALID", `the tensor ${tensor.name} occurs twice`, {
          found: `${other.info.file} and ${source.name}`,
          where: options.name,
        });
      }
      places.set(place.info.name, place);
    }
  }
  const identities = files.map(({ source }) => source.identity);
  const find = (name: string): Place => {
    const place = places.get(name);
    if (place !== undefined) return place;
    const where = options.name;
    throw new TureenError("MODEL_TENSOR_MISSING", `there is no tensor ${name}`, { where });
  };
  return {
    name: options.name,
    tensors: new Map([...places].map(([name, { info }]) => [name, info])),
    metadata: {},
    identity: identities.includes(undefined) ? undefined : identities.join("\n"),
    read: (name, offset, nBytes, reading) => readRange(find(name), offset, nBytes, reading),
    readBlocks: (name, row, nRows, reading) => readBlocks(find(name), row, nRows, reading),
    async settle() {
      for (const { source } of files) await source.settle?.();
    },
    async close() {
      await Promise.all(files.map(({ source }) => source.close()));
    },
  };
}

function isFloat(name: GgmlName): name is "F32" | "F16" | "BF16" {
  return name === "F32" || name === "F16" || name === "BF16";
}

function describeStored(type: BlockName, nBytes: number): StoredType {
  const held = HELD[type];
  return { type, nBytes, held, hasBlocks: canonicalType(type)?.toLowerCase() === held };
}

function locate(tensor: GgufTensor, source: ByteSource, options: GgufOptions): Place {
  const { name, type, shape, nBytes } = tensor;
  const { architecture, headDim, rename = (own) => toHubName(own, architecture) } = options;
  const count = shape.reduce((product, size) => product * size, 1);
  const dtype = isFloat(type.name) ? type.name : "F32";
  const stored = isFloat(type.name) ? undefined : describeStored(type.name, nBytes);
  const info: TensorInfo = {
    name: rename(name),
    dtype,
    shape,
    nBytes: isFloat(type.name) ? nBytes : 4 * count,
    file: source.name,
    ...(stored && { stored }),
  };
  const permuted = isPermuted(architecture, name);
  const rows = shape.length > 1 ? shape[0]! : permuted ? count : 1;
  const place = { info, tensor, source, rows, cols: rows === 0 ? 0 : count / rows };
  const isMore = hasOneAdded(architecture, name);
  return { ...place, headDim: permuted ? (headDim ?? 0) : undefined, hasOneAdded: isMore };
}

/** Bytes of a tensor as the checkpoint has it. */
async function readRange(
  place: Place,
  offset = 0,
  nBytes: number = place.info.nBytes - offset,
  options?: ReadOptions,
): Promise<Uint8Array> {
  const { info, tensor, source, rows } = place;
  if (!(offset >= 0 && nBytes >= 0 && offset + nBytes <= info.nBytes)) {
    throw new TureenError("SOURCE_READ_FAILED", "a read outside the tensor", {
      expected: `a range within ${info.nBytes} bytes`,
      found: `${nBytes} bytes from ${offset}`,
      where: `${info.name} in ${info.file}`,
    });
  }
  if (place.hasOneAdded) return withoutOne(place, offset, nBytes, options);
  if (isFloat(tensor.type.name) && place.headDim === undefined) {
    return source.read(tensor.begin + offset, nBytes, options);
  }
  if (nBytes === 0) return new Uint8Array(0);
  const rowBytes = info.nBytes / rows;
  const first = Math.floor(offset / rowBytes);
  const end = Math.ceil((offset + nBytes) / rowBytes);
  const isWhole = first * rowBytes === offset && (end - first) * rowBytes === nBytes;
  const bytes = await readFloats(place, first, end - first, {
    signal: options?.signal,
    into: isWhole ? options?.into : undefined,
  });
  const start = offset - first * rowBytes;
  return isWhole ? bytes : bytes.subarray(start, start + nBytes);
}

/** Part of a norm, of floats as converters write all norms. */
async function withoutOne(
  { info, tensor, source }: Place,
  offset: number,
  nBytes: number,
  options?: ReadOptions,
): Promise<Uint8Array> {
  if (tensor.type.name !== "F32") {
    throw new TureenError("FORMAT_UNSUPPORTED", "a norm of this type is not supported", {
      expected: "F32",
      found: tensor.type.name,
      where: `${info.name} in ${info.file}`,
    });
  }
  const bytes = await source.read(tensor.begin + offset, nBytes, { signal: options?.signal });
  const values = new Float32Array(bytes.slice().buffer);
  for (let i = 0; i < values.length; i++) values[i]! -= 1;
  return new Uint8Array(values.buffer);
}

/** Rows as floats. */
async function readFloats(
  place: Place,
  first: number,
  count: number,
  options: ReadOptions,
): Promise<Uint8Array> {
  const { type } = place.tensor;
  if (isFloat(type.name)) return readRows(place, first, count, options);
  const raw = await readRows(place, first, count, { signal: options.signal });
  const out = takeRoom(count * place.cols * 4, options.into);
  const floats = new Float32Array(out.buffer, out.byteOffset, count * place.cols);
  dequantize(type.name, raw, raw.length / type.bytes, floats);
  return out;
}

/** Rows as the blocks that backends pack as they are. */
async function readBlocks(
  place: Place,
  first: number,
  count: number,
  options?: ReadOptions,
): Promise<Uint8Array> {
  const { name } = place.tensor.type;
  const raw = await readRows(place, first, count, { signal: options?.signal });
  const dtype = canonicalType(name)!;
  const out = takeRoom(count * rowBytes(dtype, place.cols), options?.into);
  toCanonical(name, raw, out);
  return out;
}

/** Memory for a result: the caller's, if it is large enough and aligned. */
function takeRoom(nBytes: number, into: Uint8Array | undefined): Uint8Array {
  const fits = into !== undefined && into.length >= nBytes && into.byteOffset % 4 === 0;
  return fits ? into.subarray(0, nBytes) : new Uint8Array(nBytes);
}

/** Rows as the file holds them, in transformers' order. */
async function readRows(
  { tensor, source, rows, headDim, info }: Place,
  first: number,
  count: number,
  options: ReadOptions,
): Promise<Uint8Array> {
  const rowBytes = tensor.nBytes / rows;
  if (headDim === undefined) {
    return source.read(tensor.begin + first * rowBytes, count * rowBytes, options);
  }
  if (!(headDim > 0 && headDim % 2 === 0 && rows % headDim === 0)) {
    throw new TureenError("MODEL_TENSOR_MISMATCH", "a tensor's rows are no whole heads", {
      expected: `a multiple of ${headDim || "the heads' size"}`,
      found: String(rows),
      where: `${info.name} in ${info.file}`,
    });
  }
  const start = Math.floor(first / headDim) * headDim;
  const end = Math.ceil((first + count) / headDim) * headDim;
  const { signal } = options;
  const at = tensor.begin + start * rowBytes;
  const raw = await source.read(at, (end - start) * rowBytes, { signal });
  const out = takeRoom(count * rowBytes, options.into);
  for (let i = 0; i < count; i++) {
    const from = (permutedRow(first + i, headDim) - start) * rowBytes;
    out.set(raw.subarray(from, from + rowBytes), i * rowBytes);
  }
  return out;
}
