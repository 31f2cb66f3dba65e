// Writes a model with some of its weights changed, as full safetensors: streamed in pieces, in one file or in shards, in the
// base's own types or another. What changes comes from the caller, tensor by tensor.
import { TureenError, throwIfAborted } from "../errors.ts";
import type { Checkpoint, DType, TensorInfo } from "../formats/checkpoint.ts";
import { tensorBytes } from "../formats/dtype.ts";
import { isFloatDType, toFloat32 } from "../formats/float.ts";
import {
  safetensorsSize,
  type TensorToWrite,
  writeSafetensors,
} from "../formats/safetensors-writer.ts";
import { type FileSink, once } from "../sources/sink.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import { copyCompanions } from "./companions.ts";
import { encodeFinite, type WrittenDType } from "./peft-writer.ts";

/** Read and written at once. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** Adds what changes to rows of a weight, in place. `weight` is f32 [nRows, cols], rows `rowStart`.. of the whole. */
export type AddRows = (weight: Float32Array, rowStart: number) => void;

/** Linear layer → reads what changes it, once, when its tensor's turn has come. */
export type WeightChanges = ReadonlyMap<string, () => Promise<AddRows>>;

export interface WriteModelOptions extends ReadOptions {
  /** Tensors of one file have at most so many bytes (a larger tensor has a file to itself). Default: one file. */
  readonly maxShardBytes?: number | undefined;
  /** For all floating-point tensors. Default: each keeps its own. */
  readonly dtype?: WrittenDType | undefined;
  /** Shards that an earlier run of the same has written; they are not written again. */
  readonly finished?: ReadonlySet<string> | undefined;
  /** After each shard. */
  readonly onShard?: ((file: string) => Promise<void>) | undefined;
  /** Bytes of weights written so far, and in total. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/** One file of weights. */
export interface Shard {
  readonly file: string;
  readonly tensors: readonly TensorInfo[];
  /** Of the tensors. */
  readonly nBytes: number;
  /** Of the whole file. */
  readonly fileBytes: number;
}

const METADATA = { format: "pt" };

/** Groups tensors into files, in the checkpoint's order, named as transformers names them. */
export function planShards(
  checkpoint: Checkpoint,
  { maxShardBytes = Number.POSITIVE_INFINITY, dtype }: WriteModelOptions = {},
): Shard[] {
  const groups: TensorInfo[][] = [];
  let room = 0;
  for (const info of checkpoint.tensors.values()) {
    const tensor = asWritten(info, dtype);
    if (groups.length === 0 || tensor.nBytes > room) {
      groups.push([]);
      room = maxShardBytes;
    }
    groups.at(-1)!.push(tensor);
    room -= tensor.nBytes;
  }
  const digits = (n: number): string => String(n).padStart(5, "0");
  return groups.map((tensors, i) => ({
    file:
      groups.length === 1
        ? "model.safetensors"
        : `model-${digits(i + 1)}-of-${digits(groups.length)}.safetensors`,
    tensors,
    nBytes: tensors.reduce((sum, { nBytes }) => sum + nBytes, 0),
    fileBytes: safetensorsSize(
      tensors.map((tensor) => ({ ...tensor, data: () => new Uint8Array() })),
      METADATA,
    ),
  }));
}

/**
 * Writes the weights, config and tokenizer, and last the index of several shards. Weights that nothing changes keep their
 * bytes; the others are computed from the file's rows in f32 and rounded once to their type. Memory holds one piece, and
 * what changes one tensor.
 * @throws TureenError `SOURCE_WRITE_FAILED`, `SOUP_INVALID` (numbers that leave the type), `ABORTED`
 */
export async function writeModel(
  files: FileSet,
  checkpoint: Checkpoint,
  changes: WeightChanges,
  sink: FileSink,
  options: WriteModelOptions = {},
): Promise<void> {
  const { finished, onShard, onProgress, dtype, signal } = options;
  const shards = planShards(checkpoint, options);
  const bytesTotal = shards.reduce((sum, { nBytes }) => sum + nBytes, 0);
  let bytesDone = 0;
  const count = (nBytes: number): void => {
    bytesDone += nBytes;
    onProgress?.(bytesDone, bytesTotal);
  };
  for (const { file, tensors, nBytes } of shards) {
    if (finished?.has(file)) {
      count(nBytes);
      continue;
    }
    const written = tensors.map((tensor): TensorToWrite => {
      const pieces = readTensor(checkpoint, tensor, findChange(tensor.name, changes), signal);
      return { ...tensor, data: () => counted(pieces, count) };
    });
    await sink.write(file, writeSafetensors(written, METADATA));
    await onShard?.(file);
  }
  await copyCompanions(files, sink, { dtype, signal });
  if (shards.length > 1) await writeIndex(shards, bytesTotal, sink);
}

async function writeIndex(
  shards: readonly Shard[],
  bytesTotal: number,
  sink: FileSink,
): Promise<void> {
  const map = shards.flatMap(({ file, tensors }) => tensors.map(({ name }) => [name, file]));
  const index = { metadata: { total_size: bytesTotal }, weight_map: Object.fromEntries(map) };
  const bytes = new TextEncoder().encode(`${JSON.stringify(index, null, 2)}\n`);
  await sink.write("model.safetensors.index.json", once(bytes));
}

function asWritten(info: TensorInfo, dtype: DType | undefined): TensorInfo {
  if (dtype === undefined || !isFloatDType(info.dtype)) return info;
  return { ...info, dtype, nBytes: tensorBytes(dtype, info.shape)! };
}

/** Files written from the bare decoder lack the prefix `model.`. */
function findChange(name: string, changes: WeightChanges): (() => Promise<AddRows>) | undefined {
  if (!name.endsWith(".weight")) return undefined;
  const path = name.slice(0, -".weight".length);
  return changes.get(path) ?? changes.get(`model.${path}`);
}

/** @param written as it goes into the file; the checkpoint knows what it was */
async function* readTensor(
  checkpoint: Checkpoint,
  written: TensorInfo,
  change: (() => Promise<AddRows>) | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const info = checkpoint.tensors.get(written.name)!;
  const { dtype } = written;
  if (change === undefined && dtype === info.dtype) {
    yield* copyTensor(checkpoint, info, signal);
    return;
  }
  if (!isFloatDType(info.dtype)) {
    throw new TureenError("FORMAT_UNSUPPORTED", `cannot merge into ${info.name}`, {
      expected: "F32, F16 or BF16",
      found: info.dtype,
      where: info.file,
    });
  }
  const add = await change?.();
  const rows = info.shape[0] ?? 1;
  const rowBytes = info.nBytes / rows;
  const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  for (let row = 0; row < rows; row += step) {
    throwIfAborted(signal);
    const n = Math.min(step, rows - row);
    const bytes = await checkpoint.read(info.name, row * rowBytes, n * rowBytes, { signal });
    const weight = toFloat32(bytes, info.dtype).slice();
    add?.(weight, row);
    yield encodeFinite(weight, dtype as WrittenDType, info.name);
  }
}

async function* copyTensor(
  checkpoint: Checkpoint,
  { name, nBytes }: TensorInfo,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < nBytes; offset += PIECE_BYTES) {
    throwIfAborted(signal);
    const length = Math.min(PIECE_BYTES, nBytes - offset);
    yield await checkpoint.read(name, offset, length, { signal });
  }
}

async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  count: (nBytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    yield piece;
    count(piece.byteLength);
  }
}
