// Writes a model with a soup folded in, as a full safetensors model: one file, in the base's own types, streamed row by row.
import { TureenError, throwIfAborted } from "../errors.ts";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint.ts";
import { fromFloat32, isFloatDType, toFloat32 } from "../formats/float.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors-writer.ts";
import type { FileSink } from "../sources/sink.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import { foldRows, readFoldParts } from "./fold.ts";
import type { Contribution } from "./soup.ts";

/** Read and written at once. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** What a model folder holds besides weights. Copied as it is, if it is there. */
const COMPANIONS = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
];

export interface FoldModelOptions extends ReadOptions {
  /** Bytes of weights written so far, and in total. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/**
 * Writes `model.safetensors` and copies the other files. Weights that the soup does not touch keep their bytes; the others
 * are W + Σ m B A, computed from the file's rows and rounded once to the file's type.
 * @param changed linear layer → what the soup adds to it
 * @throws TureenError `SOURCE_WRITE_FAILED`, `ADAPTER_UNSUPPORTED`, `ABORTED`
 */
export async function writeFoldedModel(
  files: FileSet,
  checkpoint: Checkpoint,
  changed: ReadonlyMap<string, readonly Contribution[]>,
  sink: FileSink,
  options: FoldModelOptions = {},
): Promise<void> {
  const { signal, onProgress } = options;
  const infos = [...checkpoint.tensors.values()];
  const bytesTotal = infos.reduce((sum, { nBytes }) => sum + nBytes, 0);
  let bytesDone = 0;
  const tensors = infos.map((info): TensorToWrite => {
    const contributions = findContributions(info.name, changed);
    const pieces =
      contributions === undefined
        ? copyTensor(checkpoint, info, signal)
        : foldTensor(checkpoint, info, contributions, signal);
    const count = (nBytes: number): void => {
      bytesDone += nBytes;
      onProgress?.(bytesDone, bytesTotal);
    };
    return { ...info, data: () => counted(pieces, count) };
  });
  await sink.write("model.safetensors", writeSafetensors(tensors, { format: "pt" }));
  for (const path of COMPANIONS) await copyFile(files, path, sink, options);
}

/** Files written from the bare decoder lack the prefix `model.`. */
function findContributions(
  name: string,
  changed: ReadonlyMap<string, readonly Contribution[]>,
): readonly Contribution[] | undefined {
  if (!name.endsWith(".weight")) return undefined;
  const path = name.slice(0, -".weight".length);
  return changed.get(path) ?? changed.get(`model.${path}`);
}

async function* copyTensor(
  checkpoint: Checkpoint,
  { name, nBytes }: TensorInfo,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < nBytes; offset += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, nBytes - offset);
    yield await checkpoint.read(name, offset, length, { signal });
  }
}

async function* foldTensor(
  checkpoint: Checkpoint,
  { name, dtype, shape, nBytes, file }: TensorInfo,
  contributions: readonly Contribution[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  if (!isFloatDType(dtype)) {
    throw new TureenError("FORMAT_UNSUPPORTED", `cannot fold into ${name}`, {
      expected: "F32, F16 or BF16",
      found: dtype,
      where: file,
    });
  }
  const [rows, cols] = shape as [number, number];
  const rowBytes = nBytes / rows;
  const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
  const parts = await readFoldParts(contributions);
  for (let row = 0; row < rows; row += step) {
    throwIfAborted(signal);
    const n = Math.min(step, rows - row);
    const bytes = await checkpoint.read(name, row * rowBytes, n * rowBytes, { signal });
    const weight = toFloat32(bytes, dtype).slice();
    foldRows(weight, row, cols, parts);
    yield fromFloat32(weight, dtype);
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

async function copyFile(
  files: FileSet,
  path: string,
  sink: FileSink,
  options: ReadOptions,
): Promise<void> {
  const source = await files.open(path, options);
  if (source === undefined) return;
  try {
    await sink.write(path, readPieces());
  } finally {
    await source.close();
  }
  async function* readPieces(): AsyncGenerator<Uint8Array> {
    for (let offset = 0; offset < source!.size; offset += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, source!.size - offset);
      yield await source!.read(offset, length, options);
    }
  }
}
