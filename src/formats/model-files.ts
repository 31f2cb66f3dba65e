// A model's files and its weights, whichever format holds them: a folder in Hugging Face's layout, or a GGUF file, which is made to
// look like one. What GGUF needs is loaded when there is one.
import { TureenError } from "../errors.ts";
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
 * @throws TureenError `OPTION_INVALID` for a folder with several GGUF files, and what opening one throws
 */
export async function openModelFiles(
  files: FileSet,
  options?: OpenFileOptions,
): Promise<ModelFiles> {
  const path = await findGguf(files, "config.json", options);
  if (path === undefined) {
    return { files, openCheckpoint: (o) => openCheckpoint(files, o), close: async () => {} };
  }
  const { openGgufModel } = await import("./gguf/model.ts");
  return openGgufModel(files, path, options);
}

/**
 * The GGUF file that was named, or the only one in a folder that is not of Hugging Face's layout.
 * @param marker the file by which a folder of that layout is known
 * @throws TureenError `OPTION_INVALID` if there are several
 */
export async function findGguf(
  files: FileSet,
  marker: string,
  options?: OpenFileOptions,
): Promise<string | undefined> {
  if (files.named !== undefined || files.list === undefined) return files.named;
  const known = await files.open(marker, { signal: options?.signal });
  await known?.close();
  if (known !== undefined) return undefined;
  // of shards the first one
  const found = (await files.list(options)).filter(
    (name) => /\.gguf$/i.test(name) && !/-(?!00001)\d{5}-of-\d{5}\.gguf$/i.test(name),
  );
  if (found.length < 2) return found[0];
  throw new TureenError("OPTION_INVALID", "the folder holds several GGUF files", {
    expected: "the name of one of them",
    found: found.join(", "),
    where: files.name,
    hint: `Name it with its folder: ${files.name}/${found[0]}`,
  });
}
