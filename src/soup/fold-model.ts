// Writes a model with a soup folded in, as a full safetensors model: one file, in the base's own types, streamed row by row.
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { FileSink } from "../sources/sink.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import { foldRows, readFoldParts } from "./fold.ts";
import type { Contribution } from "./soup.ts";
import { type AddRows, writeModel } from "./write-model.ts";

/** How to write a folded model. */
export interface FoldModelOptions extends ReadOptions {
  /** Bytes of weights written so far, and in total. */
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/**
 * Writes `model.safetensors` and copies the other files. Weights that the soup does not touch keep their bytes; the others
 * are W + Σ m B A, computed from the file's rows and rounded once to the file's type.
 * @param changed linear layer → what the soup adds to it
 * @throws TureenError `SOURCE_WRITE_FAILED`, `ADAPTER_UNSUPPORTED`, `SOUP_INVALID` (numbers that leave the type), `ABORTED`
 */
export async function writeFoldedModel(
  files: FileSet,
  checkpoint: Checkpoint,
  changed: ReadonlyMap<string, readonly Contribution[]>,
  sink: FileSink,
  options: FoldModelOptions = {},
): Promise<void> {
  const changes = [...changed].map(([path, contributions]) => {
    const read = async (): Promise<AddRows> => {
      const parts = await readFoldParts(contributions);
      const { cols } = contributions[0]!.module.linear;
      return (weight, rowStart) => foldRows(weight, rowStart, cols, parts);
    };
    return [path, read] as const;
  });
  await writeModel(files, checkpoint, new Map(changes), sink, options);
}
