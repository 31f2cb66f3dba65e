// The one door to files: whatever a caller names becomes a FileSet. Also reads the small JSON files beside the weights. What reads
// from a disk, a hub or another server is loaded when one is named.
import { TureenError } from "../errors.ts";
import { findBuiltin } from "../node-builtin.ts";
import { openBlob } from "./blob.ts";
import { describeForeignContent } from "./foreign-content.ts";
import type { OpenOptions } from "./hub-options.ts";
import { type HubReference, parseHubReference } from "./hub-reference.ts";
import { openMemory } from "./memory.ts";
import { checkPath } from "./path.ts";
import {
  type FolderHandle,
  isFolderHandle,
  openFileList,
  openFolderHandle,
  type PickedFile,
} from "./picked.ts";
import type { ByteSource, FileSet, ReadOptions } from "./source.ts";

/** Content of one file, for a set of files given by name. */
export type FileContent = Uint8Array | ArrayBuffer | Blob | ByteSource;

/**
 * What every loader accepts: the path of a folder; an `http(s):` or `file:` URL of a folder; a repository of a model hub as
 * `org/name`, `org/name@revision` or `hf://org/name[@revision][/folder]`; a FileSet; contents by file name; or, in browsers,
 * a `FileSystemDirectoryHandle` or a list of `File`s. `org/name` is a local folder if there is one of that path. A GGUF file is
 * named like a folder: `dir/model.gguf`, its URL, or `org/name/model.gguf`.
 */
export type FileSetInput =
  | string
  | URL
  | FileSet
  | FolderHandle
  | Iterable<PickedFile>
  | Readonly<Record<string, FileContent>>;

/** tokenizer.json is the largest JSON file beside a model, up to some 35 MB today. */
const MAX_JSON_BYTES = 256 * 1024 * 1024;

/**
 * Opens a folder of files, wherever it lives. No file is read yet; a hub is asked for the revision.
 * @throws TureenError `SOURCE_NOT_FOUND`, `SOURCE_READ_FAILED`, `OPTION_INVALID`, `ABORTED`
 */
export async function openFileSet(input: FileSetInput, options?: OpenOptions): Promise<FileSet> {
  if (input instanceof URL) return openUrl(input, options);
  if (typeof input === "string") {
    if (input === "") throw invalidInput("an empty string");
    if (/^(https?|file):/i.test(input)) return openUrl(parseUrl(input), options);
    const reference = parseHubReference(input);
    if (reference === undefined) return openLocal(input);
    if (/^hf:/i.test(input)) return openRepository(reference, options);
    const hasFiles = findBuiltin("node:fs/promises") !== undefined;
    const local = hasFiles ? await (await import("./directory.ts")).findPath(input) : undefined;
    return local ?? openNamed(input, reference, options);
  }
  if (typeof input !== "object" || input === null) {
    throw invalidInput(input === null ? "null" : typeof input);
  }
  if (isFolderHandle(input)) return openFolderHandle(input);
  if (isFileSet(input)) return input;
  if (Symbol.iterator in input) return openFileList(input as Iterable<PickedFile>);
  return openFiles(input as Readonly<Record<string, FileContent>>);
}

function parseUrl(input: string): URL {
  try {
    return new URL(input);
  } catch {
    throw invalidInput(`${JSON.stringify(input)}, which is not a URL`);
  }
}

/** A name that could as well have been meant as a path. */
async function openNamed(
  input: string,
  reference: HubReference,
  options: OpenOptions | undefined,
): Promise<FileSet> {
  try {
    return await openRepository(reference, options);
  } catch (error) {
    if (!(error instanceof TureenError) || !error.code.startsWith("SOURCE_")) throw error;
    const hint = `There is no local ${reference.named === undefined ? "folder" : "file"} ${input} either.`;
    const what = error.message.replace(/\.$/, "");
    throw new TureenError(error.code, what, { hint }, { cause: error });
  }
}

async function openRepository(
  reference: HubReference,
  options: OpenOptions | undefined,
): Promise<FileSet> {
  const { openHub } = await import("./hub.ts");
  return openHub(reference, options);
}

async function openLocal(path: string | URL): Promise<FileSet> {
  const { openPath } = await import("./directory.ts");
  return openPath(path);
}

async function openAddress(url: URL): Promise<FileSet> {
  const { openHttp } = await import("./http.ts");
  return openHttp(url);
}

function openUrl(url: URL, options: OpenOptions | undefined): FileSet | Promise<FileSet> {
  if (url.protocol === "hf:") return openRepository(parseHubReference(url.href)!, options);
  if (url.protocol === "http:" || url.protocol === "https:") return openAddress(url);
  if (url.protocol === "file:") return openLocal(url);
  throw invalidInput(`a ${url.protocol} URL`);
}

function isFileSet(input: object): input is FileSet {
  return "open" in input && typeof input.open === "function";
}

function openFiles(contents: Readonly<Record<string, FileContent>>): FileSet {
  const files = new Map(Object.entries(contents));
  for (const path of files.keys()) checkPath(path, "file names");
  return {
    name: "files in memory",
    list: async () => [...files.keys()],
    async open(path) {
      checkPath(path, "files in memory");
      const content = files.get(path);
      return content === undefined ? undefined : openContent(path, content);
    },
  };
}

function openContent(path: string, content: FileContent): ByteSource {
  if (content instanceof Uint8Array || content instanceof ArrayBuffer) {
    return openMemory(path, content);
  }
  if (content instanceof Blob) return openBlob(path, content);
  if (typeof content?.read === "function") {
    // The caller owns it, and may have it opened again.
    const { name, size } = content;
    return { name, size, read: (...args) => content.read(...args), close: async () => {} };
  }
  throw invalidInput(`${typeof content} as the content of ${path}`);
}

function invalidInput(found: string): TureenError {
  return new TureenError("OPTION_INVALID", "the source of files is not usable", {
    expected:
      "a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name",
    found,
  });
}

/**
 * Reads and parses a JSON file.
 * @returns its value, or `undefined` if there is no such file
 * @throws TureenError `FORMAT_INVALID` if it is not JSON, with a word on Git LFS pointers and HTML pages
 */
export async function readJson(
  files: FileSet,
  path: string,
  options?: ReadOptions,
): Promise<unknown> {
  const source = await files.open(path, options);
  if (source === undefined) return undefined;
  try {
    if (source.size > MAX_JSON_BYTES) {
      throw new TureenError("FORMAT_INVALID", `${path} is too large`, {
        expected: `at most ${MAX_JSON_BYTES} bytes`,
        found: `${source.size} bytes`,
        where: source.name,
      });
    }
    return parseJson(await source.read(0, source.size, options), path, source.name);
  } finally {
    await source.close();
  }
}

function parseJson(bytes: Uint8Array, path: string, where: string): unknown {
  const foreign = describeForeignContent(bytes);
  if (foreign !== undefined) {
    throw new TureenError("FORMAT_INVALID", `${path} is not what its name says`, {
      expected: "JSON",
      found: foreign.found,
      where,
      hint: foreign.hint,
    });
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    const found = bytes.byteLength === 0 ? "an empty file" : (cause as Error).message;
    const details = { expected: "JSON in UTF-8", found, where };
    throw new TureenError("FORMAT_INVALID", `${path} cannot be parsed`, details, { cause });
  }
}
