// Writes files into a directory with `node:fs` (Node, Deno, Bun). Each goes to a temporary name first and is renamed when it
// is complete, so a failure leaves no half-written file.
import { TureenError } from "../errors.ts";
import { findBuiltin } from "../node-builtin.ts";
import type { FileSink } from "./sink.ts";

/** The directory is made when the first file is written. */
export function createDirectorySink(directory: string | URL): FileSink {
  const fs = findBuiltin("node:fs/promises");
  if (fs === undefined) {
    throw new TureenError("OPTION_INVALID", "this host has no file system", {
      found: String(directory),
      hint: "Pass a FileSink, such as createMemorySink().",
    });
  }
  const { mkdir, open, rename, rm } = fs;
  const { join } = findBuiltin("node:path")!;
  const { fileURLToPath } = findBuiltin("node:url")!;
  const root =
    directory instanceof URL || directory.startsWith("file:")
      ? fileURLToPath(directory)
      : directory;
  return {
    name: root,
    async write(path, content) {
      const target = join(root, path);
      const partial = `${target}.partial`;
      try {
        await mkdir(root, { recursive: true });
        const file = await open(partial, "w");
        try {
          for await (const piece of content) await file.writeFile(piece);
        } finally {
          await file.close();
        }
        await rename(partial, target);
      } catch (cause) {
        await rm(partial, { force: true }).catch(() => {});
        if (cause instanceof TureenError) throw cause;
        const found = cause instanceof Error ? cause.message : String(cause);
        throw new TureenError(
          "SOURCE_WRITE_FAILED",
          "cannot write",
          { found, where: target },
          { cause },
        );
      }
    },
  };
}
