// Folders on a disk, through node:fs (Node, Deno, Bun), which is asked for only when a path is opened.
import type { FileHandle } from "node:fs/promises";
import { TureenError } from "../errors.ts";
import { findBuiltin } from "../node-builtin.ts";
import { createByteSource, shortRead } from "./byte-source.ts";
import { checkPath } from "./path.ts";
import type { ByteSource, FileSet } from "./source.ts";

/** Hosts refuse single reads of 2 GiB and more. */
const MAX_READ = 1 << 30;

type FileSystem = typeof import("node:fs/promises");

/**
 * Opens a folder.
 * @param path a path, or a `file:` URL
 * @throws TureenError `SOURCE_NOT_FOUND` if there is none, or if it is a file
 */
export async function openDirectory(path: string | URL): Promise<FileSet> {
  const fs = findFileSystem();
  const root = typeof path === "string" ? path : toPath(path);
  const stat = await fs.stat(root).catch((cause: unknown) => {
    const wanted = root.endsWith(".gguf") ? "file" : "folder";
    throw new TureenError("SOURCE_NOT_FOUND", `there is no ${wanted} ${root}`, {}, { cause });
  });
  if (!stat.isDirectory()) {
    throw new TureenError("SOURCE_NOT_FOUND", `${root} is not a folder`, {
      expected: "the folder that holds the files",
      found: "a file",
    });
  }
  const prefix = root.endsWith("/") ? root : `${root}/`;
  return {
    name: root,
    hubId: hubIdOf(root),
    origin: { name: findBuiltin("node:path")!.resolve(root) },
    list: async () => {
      const entries = await fs.readdir(root, { withFileTypes: true });
      return entries.flatMap((entry) => (entry.isDirectory() ? [] : [entry.name])).sort();
    },
    async open(path) {
      checkPath(path, root);
      return openFile(fs, `${prefix}${path}`);
    },
  };
}

/**
 * Opens what lies at a path: a folder, or a GGUF file, which is then the one that was named in its folder.
 * @throws TureenError `SOURCE_NOT_FOUND`
 */
export async function openPath(path: string | URL): Promise<FileSet> {
  const text = typeof path === "string" ? path : toPath(path);
  if ((await lookAt(text)) !== "gguf") return openDirectory(text);
  const { dirname, basename } = findBuiltin("node:path")!;
  return { ...(await openDirectory(dirname(text))), named: basename(text) };
}

/** As `openPath`; `undefined` where there is nothing of the kind, or no file system. */
export async function findPath(path: string): Promise<FileSet | undefined> {
  return (await lookAt(path)) === undefined ? undefined : openPath(path);
}

async function lookAt(path: string): Promise<"folder" | "gguf" | undefined> {
  const stat = await findBuiltin("node:fs/promises")
    ?.stat(path)
    .catch(() => undefined);
  if (stat?.isDirectory()) return "folder";
  return stat?.isFile() && /\.gguf$/i.test(path) ? "gguf" : undefined;
}

/** A folder of the cache that Python's tools keep tells what it is by its path. */
function hubIdOf(root: string): string | undefined {
  const match = /(?:^|\/)models--([^/]+)\/snapshots\/[0-9a-f]{40}\/?$/.exec(root);
  return match?.[1]?.replace("--", "/");
}

function toPath(url: URL): string {
  try {
    return findBuiltin("node:url")!.fileURLToPath(url);
  } catch (cause) {
    const what = `the URL ${url.href} names no local folder`;
    throw new TureenError("SOURCE_NOT_FOUND", what, {}, { cause });
  }
}

function findFileSystem(): FileSystem {
  const fs = findBuiltin("node:fs/promises");
  if (fs !== undefined) return fs;
  throw new TureenError("SOURCE_NOT_FOUND", "this host has no file system", {
    hint: "Pass an http(s) URL, Blobs or bytes.",
  });
}

async function openFile(fs: FileSystem, path: string): Promise<ByteSource | undefined> {
  let file: FileHandle;
  try {
    file = await fs.open(path, "r");
  } catch (cause) {
    const code = (cause as { code?: unknown }).code;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw unreadable(path, cause);
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw unreadable(path, new Error("not a regular file"));
    const { dev, ino, size, mtimeMs, ctimeMs } = stat;
    return createByteSource(path, size, {
      identity: `${dev}:${ino} ${size} ${mtimeMs} ${ctimeMs}`,
      read: (offset, nBytes, _signal, into = new Uint8Array(nBytes)) =>
        readFully(file, path, offset, into.subarray(0, nBytes)),
      close: () => file.close(),
    });
  } catch (cause) {
    await file.close();
    throw cause instanceof TureenError ? cause : unreadable(path, cause);
  }
}

async function readFully(
  file: FileHandle,
  path: string,
  offset: number,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const nBytes = bytes.length;
  let done = 0;
  while (done < nBytes) {
    const length = Math.min(nBytes - done, MAX_READ);
    const { bytesRead } = await file
      .read(bytes, done, length, offset + done)
      .catch((cause: unknown) => {
        throw unreadable(path, cause);
      });
    if (bytesRead === 0) throw shortRead(path, nBytes, done);
    done += bytesRead;
  }
  return bytes;
}

function unreadable(path: string, cause: unknown): TureenError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TureenError(
    "SOURCE_READ_FAILED",
    `${path} could not be read: ${reason}`,
    {},
    { cause },
  );
}
