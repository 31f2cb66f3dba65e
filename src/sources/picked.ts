// What people pick or drop on a page: a folder's handle, or a list of files.
import { TureenError } from "../errors.ts";
import { openBlob } from "./blob.ts";
import { checkPath } from "./path.ts";
import type { FileSet } from "./source.ts";

/** What is used of `FileSystemDirectoryHandle`: of `showDirectoryPicker`, drag and drop, or the origin private file system. */
export interface FolderHandle {
  readonly kind: "directory";
  readonly name: string;
  getDirectoryHandle(name: string): Promise<FolderHandle>;
  getFileHandle(name: string): Promise<{ getFile(): Promise<Blob> }>;
  /** Without it, a file in the folder has to be named. */
  values?(): AsyncIterable<{ readonly kind: string; readonly name: string }>;
}

/** What is used of `File`. */
export type PickedFile = Blob & { readonly name: string; readonly webkitRelativePath?: string };

export function isFolderHandle(input: object): input is FolderHandle {
  return "kind" in input && input.kind === "directory" && "getFileHandle" in input;
}

/** A folder that a person gave access to. */
export function openFolderHandle(root: FolderHandle): FileSet {
  return {
    name: root.name,
    list: async () => {
      const names: string[] = [];
      for await (const { kind, name } of root.values?.() ?? [])
        if (kind === "file") names.push(name);
      return names.sort();
    },
    async open(path) {
      checkPath(path, root.name);
      const segments = path.split("/");
      try {
        let folder = root;
        for (const segment of segments.slice(0, -1)) {
          folder = await folder.getDirectoryHandle(segment);
        }
        const file = await folder.getFileHandle(segments.at(-1)!);
        return openBlob(path, await file.getFile());
      } catch (cause) {
        const { name, message } = cause as { name?: unknown; message?: unknown };
        if (name === "NotFoundError" || name === "TypeMismatchError") return undefined;
        const found = `${String(name)}: ${String(message)}`;
        const details = { found, where: `${root.name}/${path}` };
        throw new TureenError("SOURCE_READ_FAILED", "the file cannot be read", details, { cause });
      }
    },
  };
}

/**
 * Files of an `<input type="file" multiple>`, with `webkitdirectory` by their path in the folder.
 * @throws TureenError `OPTION_INVALID` if two have the same name, or something is no file
 */
export function openFileList(list: Iterable<PickedFile>): FileSet {
  const files = new Map<string, Blob>();
  for (const file of list) {
    if (!(file instanceof Blob) || typeof file.name !== "string") {
      throw new TureenError("OPTION_INVALID", "the list of files is not usable", {
        expected: "Files",
        found: file instanceof Blob ? "a Blob without a name" : typeof file,
      });
    }
    const inFolder = file.webkitRelativePath?.split("/").slice(1).join("/");
    const path = inFolder || file.name;
    checkPath(path, "picked files");
    if (files.has(path)) {
      throw new TureenError("OPTION_INVALID", "two of the picked files have the same name", {
        found: path,
      });
    }
    files.set(path, file);
  }
  return {
    name: "picked files",
    list: async () => [...files.keys()],
    async open(path) {
      checkPath(path, "picked files");
      const file = files.get(path);
      return file && openBlob(path, file);
    },
  };
}
