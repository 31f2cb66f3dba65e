// Where files go: the writing counterpart of FileSet. Hosts enter through `openFileSink`.
import { TureenError } from "../errors.ts";

/** A folder to write files into. */
export interface FileSink {
  /** For messages. */
  readonly name: string;
  /**
   * Writes one file in whole, replacing one of that name. If it fails, no partial file is left.
   * @throws TureenError `SOURCE_WRITE_FAILED`
   */
  write(path: string, content: AsyncIterable<Uint8Array>): Promise<void>;
}

/** A sink that keeps what was written: file name → content. */
export interface MemorySink extends FileSink {
  readonly files: Record<string, Uint8Array>;
}

/** Writes into memory, e.g. to offer a download in a browser. Usable as a source afterwards: `loadAdapter(sink.files)`. */
export function createMemorySink(name = "memory"): MemorySink {
  const files: Record<string, Uint8Array> = {};
  return {
    name,
    files,
    async write(path, content) {
      const blob = new Blob(await collect(content));
      files[path] = new Uint8Array(await blob.arrayBuffer());
    },
  };
}

/** A sink, or the path or `file:` URL of a directory, which is made if it does not exist (Node, Deno, Bun). */
export async function openFileSink(target: string | URL | FileSink): Promise<FileSink> {
  if (typeof target === "object" && "write" in target) return target;
  if (typeof target === "string" || target.protocol === "file:") {
    const { createDirectorySink } = await import("./directory-sink.ts");
    return createDirectorySink(target);
  }
  throw new TureenError("OPTION_INVALID", "cannot write there", {
    expected: "a directory or a FileSink",
    found: String(target),
  });
}

/** One file's content from bytes at hand. */
export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function collect(content: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>[]> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of content) pieces.push(piece.slice());
  return pieces;
}
