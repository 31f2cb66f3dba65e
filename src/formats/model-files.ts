// A model's files and its weights, whichever format holds them: a folder in Hugging Face's layout, or a GGUF file, which is made to
// look like one. What GGUF needs is loaded when there is one.
import type { FileSet, OpenFileOptions } from "../sources/source.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { openCheckpoint } from "./open-checkpoint.ts";

export interface ModelFiles {
  /** config.json, tokenizer.json and their companions, in Hugging Face's layout. */
  readonly files: FileSet;
  /** The weights. To be called once; the checkpoint is the caller's to close. */
  openCheckpoint(options?: OpenFileOptions): Promise<Checkpoint>;
  /** Releases what is held until the checkpoint is opened. Harmless afterwards. */
  close(): Promise<void>;
}

/**
 * Finds out how a model's files hold it.
 * @throws TureenError what opening a GGUF file throws
 */
export async function openModelFiles(
  files: FileSet,
  options?: OpenFileOptions,
): Promise<ModelFiles> {
  const names = await findGguf(files, "config.json", options);
  if (names.length === 0) {
    return { files, openCheckpoint: (o) => openCheckpoint(files, o), close: async () => {} };
  }
  const { openGgufModel } = await import("./gguf/model.ts");
  return openGgufModel(files, names, options);
}

/**
 * The GGUF file that was named, or all in a folder that is not of Hugging Face's layout.
 * @param marker the file by which a folder of that layout is known
 */
export async function findGguf(
  files: FileSet,
  marker: string,
  { signal }: OpenFileOptions = {},
): Promise<readonly string[]> {
  if (files.named !== undefined) return [files.named];
  if (files.list === undefined) return [];
  const known = await files.open(marker, { signal });
  await known?.close();
  if (known !== undefined) return [];
  return (await files.list({ signal })).filter((name) => /\.gguf$/i.test(name));
}
