import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openMemory } from "../../src/sources/memory.ts";
import { type FileSetInput, openFileSet, readJson } from "../../src/sources/open.ts";
import type { ByteSource } from "../../src/sources/source.ts";
import { failureOf } from "../formats/failure.ts";

const bytes = Uint8Array.from({ length: 300 }, (_, i) => i);
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tureen-sources-"));
  await mkdir(join(folder, "files/sub dir"), { recursive: true });
  await writeFile(join(folder, "files/a.bin"), bytes);
  await writeFile(join(folder, "files/sub dir/b%20.bin"), bytes.subarray(0, 10));
  await writeFile(join(folder, "files/empty"), "");
  await writeFile(join(folder, "secret"), "secret");
  await symlink("a.bin", join(folder, "files/link"));
});

afterAll(() => rm(folder, { recursive: true }));

/** The same files in every kind of set. */
const kinds: Record<string, () => FileSetInput> = {
  "a path": () => join(folder, "files"),
  "a path with a slash": () => `${join(folder, "files")}/`,
  "a file URL": () => pathToFileURL(join(folder, "files")),
  "a file URL in a string": () => pathToFileURL(join(folder, "files")).href,
  bytes: () => ({
    "a.bin": bytes,
    "sub dir/b%20.bin": bytes.slice(0, 10).buffer,
    empty: new Uint8Array(0),
    link: Buffer.from(bytes),
  }),
  Blobs: () => ({
    "a.bin": new Blob([bytes]),
    "sub dir/b%20.bin": new File([bytes.subarray(0, 10)], "b"),
    empty: new Blob([]),
    link: new Blob([bytes]),
  }),
  sources: () => ({
    "a.bin": openMemory("a", bytes),
    "sub dir/b%20.bin": openMemory("b", bytes.subarray(0, 10)),
    empty: openMemory("empty", new Uint8Array(0)),
    link: openMemory("link", bytes),
  }),
};

describe.each(Object.entries(kinds))("files from %s", (_, makeInput) => {
  const opened: ByteSource[] = [];
  afterEach(() => Promise.all(opened.splice(0).map((source) => source.close())));
  const open = async (path: string): Promise<ByteSource | undefined> => {
    const source = await (await openFileSet(makeInput())).open(path);
    if (source !== undefined) opened.push(source);
    return source;
  };

  test("are found and read by range", async () => {
    const source = (await open("a.bin"))!;
    expect(source.size).toBe(300);
    expect([...(await source.read(0, 300))]).toEqual([...bytes]);
    expect([...(await source.read(250, 50))]).toEqual([...bytes.subarray(250)]);
    expect((await source.read(300, 0)).length).toBe(0);
  });

  test("may be read into memory at hand, where it is large enough", async () => {
    const source = (await open("a.bin"))!;
    for (const room of [300, 303, 299]) {
      const into = new Uint8Array(room).fill(7);
      expect([...(await source.read(0, 300, { into }))]).toEqual([...bytes]);
      expect([...into.slice(300)]).toEqual(room > 300 ? [7, 7, 7] : []);
    }
  });

  test("may lie in folders, be empty, or be links", async () => {
    expect((await open("sub dir/b%20.bin"))?.size).toBe(10);
    expect((await open("link"))?.size).toBe(300);
    const empty = (await open("empty"))!;
    expect(empty.size).toBe(0);
    expect((await empty.read(0, 0)).length).toBe(0);
  });

  test("are undefined where there are none", async () => {
    expect(await open("b.bin")).toBeUndefined();
    expect(await open("a.bin/c")).toBeUndefined();
    expect(await open("sub dir/c/d")).toBeUndefined();
  });

  test.each([
    [-1, 2],
    [0, 301],
    [300, 1],
    [0.5, 1],
    [0, Number.NaN],
    [0, -1],
    [2 ** 53, 1],
  ])("are not read beyond their end: %d, %d bytes", async (offset, nBytes) => {
    const source = (await open("a.bin"))!;
    expect(await failureOf(() => source.read(offset, nBytes))).toMatch(
      /^SOURCE_READ_FAILED: a read outside the file: expected a range within 300 bytes/,
    );
  });

  test.each([
    "../secret",
    "sub dir/../../secret",
    "/etc/passwd",
    "C:/secret",
    "file:///etc/passwd",
    "..\\secret",
    "a.bin\0",
    "./a.bin",
    "sub dir//b%20.bin",
    "",
    "x".repeat(1025),
  ])("refuse the path %j", async (path) => {
    expect(await failureOf(() => open(path))).toMatch(/^OPTION_INVALID: the path .* is refused/);
  });

  test("stop when aborted", async () => {
    const source = (await open("a.bin"))!;
    const signal = AbortSignal.abort("enough");
    expect(await failureOf(() => source.read(0, 1, { signal }))).toMatch(/^ABORTED/);
  });
});

test.each(["a path", "bytes"])("files from %s are not read after close", async (kind) => {
  const source = (await (await openFileSet(kinds[kind]!())).open("a.bin"))!;
  await source.close();
  expect(await failureOf(() => source.read(0, 1))).toMatch(/^SOURCE_READ_FAILED: .* is closed/);
});

test("a file that shrinks while open is noticed", async () => {
  const path = join(folder, "files/shrinking");
  await writeFile(path, bytes);
  const source = (await (await openFileSet(join(folder, "files"))).open("shrinking"))!;
  await writeFile(path, bytes.subarray(0, 100));
  expect(await failureOf(() => source.read(0, 300), folder)).toMatchInlineSnapshot(
    `"SOURCE_READ_FAILED: the file ended early: expected 300 bytes, found 100 bytes (…/files/shrinking). It may have been truncated or replaced while being read."`,
  );
  await source.close();
});

test("folders are not files", async () => {
  const files = await openFileSet(join(folder, "files"));
  expect(await failureOf(() => files.open("sub dir"), folder)).toMatchInlineSnapshot(
    `"SOURCE_READ_FAILED: …/files/sub dir could not be read: not a regular file"`,
  );
});

test("a FileSet passes through", async () => {
  const files = await openFileSet({ "a.bin": bytes });
  expect(await openFileSet(files)).toBe(files);
});

test("inputs of other kinds are refused", async () => {
  const inputs: Record<string, unknown> = {
    "an empty string": "",
    "an ftp URL": new URL("ftp://host/x"),
    "a URL without a host": "http://",
    "a file URL with a host": "file://elsewhere/x",
    "a number": 3,
    null: null,
    "a missing folder": join(folder, "nowhere"),
    "a file": join(folder, "files/a.bin"),
    "a path outside": { "../x": bytes },
  };
  const messages: Record<string, string> = {};
  for (const [title, input] of Object.entries(inputs)) {
    messages[title] = await failureOf(() => openFileSet(input as FileSetInput), folder);
  }
  const odd = await openFileSet({ x: 3 } as unknown as FileSetInput);
  messages["content that is a number"] = await failureOf(() => odd.open("x"));
  expect(messages).toMatchInlineSnapshot(`
    {
      "a URL without a host": "OPTION_INVALID: the source of files is not usable: expected a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name, found "http://", which is not a URL",
      "a file": "SOURCE_NOT_FOUND: …/files/a.bin is not a folder: expected the folder that holds the files, found a file",
      "a file URL with a host": "SOURCE_NOT_FOUND: the URL file://elsewhere/x names no local folder",
      "a missing folder": "SOURCE_NOT_FOUND: there is no folder …/nowhere",
      "a number": "OPTION_INVALID: the source of files is not usable: expected a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name, found number",
      "a path outside": "OPTION_INVALID: the path "../x" is refused: it leaves the folder: expected a relative path inside the folder (file names)",
      "an empty string": "OPTION_INVALID: the source of files is not usable: expected a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name, found an empty string",
      "an ftp URL": "OPTION_INVALID: the source of files is not usable: expected a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name, found a ftp: URL",
      "content that is a number": "OPTION_INVALID: the source of files is not usable: expected a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name, found number as the content of x",
      "null": "OPTION_INVALID: the source of files is not usable: expected a folder's path, an http(s), file or hf URL, org/name, a FileSet, or file contents by name, found null",
    }
  `);
});

describe("readJson", () => {
  const read = async (content: string | Uint8Array): Promise<unknown> =>
    readJson(
      await openFileSet({
        "c.json": typeof content === "string" ? new TextEncoder().encode(content) : content,
      }),
      "c.json",
    );

  test("parses, with or without a byte order mark", async () => {
    expect(await read('{"a": [1]}')).toEqual({ a: [1] });
    expect(await read('\ufeff{"a": [1]}')).toEqual({ a: [1] });
  });

  test("is undefined where there is no file", async () => {
    expect(await readJson(await openFileSet({}), "c.json")).toBeUndefined();
  });

  test("says what it found in place of JSON", async () => {
    const contents: Record<string, string | Uint8Array> = {
      nothing: "",
      "a Git LFS pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
      "an HTML page": "\n<!doctype HTML><html></html>",
      "gzip data": Uint8Array.of(0x1f, 0x8b, 8, 0),
      "an open bracket": "[",
      "bad UTF-8": Uint8Array.of(0x22, 0xff, 0x22),
    };
    const messages: Record<string, string> = {};
    for (const [title, content] of Object.entries(contents)) {
      messages[title] = await failureOf(() => read(content));
    }
    expect(messages).toMatchInlineSnapshot(`
      {
        "a Git LFS pointer": "FORMAT_INVALID: c.json is not what its name says: expected JSON, found a Git LFS pointer (c.json). Fetch the real file with \`git lfs pull\`, or download it directly.",
        "an HTML page": "FORMAT_INVALID: c.json is not what its name says: expected JSON, found an HTML page (c.json). The download was probably answered by a web page: check the address (/resolve/, not /blob/) and access rights.",
        "an open bracket": "FORMAT_INVALID: c.json cannot be parsed: expected JSON in UTF-8, found Unexpected end of JSON input (c.json)",
        "bad UTF-8": "FORMAT_INVALID: c.json cannot be parsed: expected JSON in UTF-8, found The encoded data was not valid for encoding utf-8 (c.json)",
        "gzip data": "FORMAT_INVALID: c.json is not what its name says: expected JSON, found gzip data (c.json). Decompress the file first.",
        "nothing": "FORMAT_INVALID: c.json cannot be parsed: expected JSON in UTF-8, found an empty file (c.json)",
      }
    `);
  });

  test("refuses a file over the limit before reading it", async () => {
    const source: ByteSource = {
      name: "c.json",
      size: 2 ** 40,
      read: () => Promise.reject(new Error("must not be read")),
      close: async () => {},
    };
    const files = await openFileSet({ "c.json": source });
    expect(await failureOf(() => readJson(files, "c.json"))).toMatchInlineSnapshot(
      `"FORMAT_INVALID: c.json is too large: expected at most 268435456 bytes, found 1099511627776 bytes (c.json)"`,
    );
  });
});
