// Folders and files as a page gets them from a person.
import { expect, test } from "vitest";
import { openFileSet } from "../../src/sources/open.ts";
import type { FolderHandle } from "../../src/sources/picked.ts";
import type { FileSet } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";

async function textOf(files: FileSet, path: string): Promise<string | undefined> {
  const source = await files.open(path);
  return source && new TextDecoder().decode(await source.read(0, source.size));
}

function domError(name: string): Error {
  return Object.assign(new Error("as the browser says"), { name });
}

function handleOf(files: Record<string, string>, name = "picked"): FolderHandle {
  return {
    kind: "directory",
    name,
    async getDirectoryHandle(folder) {
      const prefix = `${folder}/`;
      const inner = Object.entries(files).filter(([path]) => path.startsWith(prefix));
      if (inner.length === 0) throw domError("NotFoundError");
      return handleOf(
        Object.fromEntries(inner.map(([path, text]) => [path.slice(prefix.length), text])),
        folder,
      );
    },
    async getFileHandle(file) {
      const text = files[file];
      if (text === "forbidden") throw domError("NotAllowedError");
      if (text === undefined) throw domError("NotFoundError");
      return { getFile: async () => new Blob([text]) };
    },
  };
}

test("a folder's handle", async () => {
  const files = await openFileSet(handleOf({ "a.json": "1", "sub/b.json": "2", c: "forbidden" }));
  expect(files.name).toBe("picked");
  expect(await textOf(files, "a.json")).toBe("1");
  expect(await textOf(files, "sub/b.json")).toBe("2");
  expect(await files.open("none")).toBeUndefined();
  expect(await files.open("none/x")).toBeUndefined();
  expect(await failureOf(() => files.open("c"))).toBe(
    "SOURCE_READ_FAILED: the file cannot be read: found NotAllowedError: as the browser says (picked/c)",
  );
  expect(await failureOf(() => files.open("../x"))).toMatch(/^OPTION_INVALID/);
});

test("a list of files, plain and of a folder", async () => {
  const plain = await openFileSet([new File(["1"], "a.json"), new File(["2"], "b.json")]);
  expect(await textOf(plain, "a.json")).toBe("1");
  expect(await plain.open("c")).toBeUndefined();
  const inFolder = (text: string, path: string): File =>
    Object.assign(new File([text], path.split("/").at(-1)!), { webkitRelativePath: path });
  const folder = await openFileSet([
    inFolder("1", "model/a.json"),
    inFolder("2", "model/sub/a.json"),
  ]);
  expect(await textOf(folder, "sub/a.json")).toBe("2");
  expect(await textOf(folder, "a.json")).toBe("1");
});

test("two files of one name are refused", async () => {
  const twice = [new File(["1"], "a.json"), new File(["2"], "a.json")];
  expect(await failureOf(() => openFileSet(twice))).toMatch(
    /^OPTION_INVALID: two of the picked files have the same name/,
  );
});

test.each([
  ["bytes", new Uint8Array(3)],
  ["names", ["a", "b"]],
  ["nameless Blobs", [new Blob([])]],
])("%s are no list of files", async (_, input) => {
  expect(await failureOf(() => openFileSet(input as Iterable<File>))).toMatch(
    /^OPTION_INVALID: the list of files is not usable/,
  );
});
