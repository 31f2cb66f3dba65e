// Opens a GGUF file, or all files of a model that was split: `model-00001-of-00003.gguf` and its siblings.
import { TureenError, throwIfAborted } from "../../errors.ts";
import type { ByteSource, FileSet, OpenFileOptions } from "../../sources/source.ts";
import type { GgufFile } from "./checkpoint.ts";
import { type GgufHeader, readGgufHeader } from "./header.ts";
import { Metadata } from "./metadata.ts";

const SHARD = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/i;
/** Each one costs a request and an open file. */
const MAX_SHARDS = 4096;

/**
 * The file that is meant where several were found: the first of its shards, or the only one.
 * @throws TureenError `OPTION_INVALID` if there are several, `SOURCE_NOT_FOUND` if only later shards are there
 */
export function chooseGguf(files: FileSet, names: readonly string[]): string {
  const first = names.filter((name) => Number(SHARD.exec(name)?.[2] ?? 1) === 1);
  if (first.length === 1) return first[0]!;
  if (first.length === 0 && files.named === undefined) {
    throw new TureenError("SOURCE_NOT_FOUND", "the first of the model's shards is missing", {
      expected: names[0]!.replace(/-\d{5}(-of-\d{5}\.gguf)$/i, "-00001$1"),
      found: names.join(", "),
      where: files.name,
    });
  }
  if (names.length === 1) return names[0]!;
  throw new TureenError("OPTION_INVALID", "the folder holds several GGUF files", {
    expected: "the name of one of them",
    found: names.join(", "),
    where: files.name,
    hint: `Name it with its folder: ${files.name}/${names[0]}`,
  });
}

/**
 * Opens a file and, if it is the first of several, the others.
 * @param names as `chooseGguf` takes them
 * @returns them in order; metadata is in the first one
 * @throws TureenError `SOURCE_NOT_FOUND` for a missing file, `FORMAT_INVALID` if shards disagree. Nothing stays open.
 */
export async function openGgufFiles(
  files: FileSet,
  names: readonly string[],
  options?: OpenFileOptions,
): Promise<readonly [GgufFile, ...GgufFile[]]> {
  const path = chooseGguf(files, names);
  const first = await openGgufFile(files, path, options);
  const opened: [GgufFile, ...GgufFile[]] = [first];
  try {
    const count = countShards(first, path);
    const match = SHARD.exec(path);
    for (let i = 2; i <= count; i++) {
      throwIfAborted(options?.signal);
      const number = String(i).padStart(5, "0");
      const shard = `${match![1]}-${number}-of-${match![3]}.gguf`;
      const file = await openGgufFile(files, shard, options);
      opened.push(file);
      const metadata = new Metadata(file.header.metadata, file.source.name);
      checkNumber(metadata.number("split.no") ?? i - 1, i - 1, file.source.name);
    }
    return opened;
  } catch (error) {
    for (const { source } of opened) await source.close();
    throw error;
  }
}

async function openGgufFile(
  files: FileSet,
  path: string,
  options?: OpenFileOptions,
): Promise<GgufFile> {
  const source = await files.open(path, options);
  if (source === undefined) {
    throw new TureenError("SOURCE_NOT_FOUND", `there is no file ${path}`, { where: files.name });
  }
  return { source, header: await readOrClose(source, options) };
}

async function readOrClose(source: ByteSource, options?: OpenFileOptions): Promise<GgufHeader> {
  try {
    return await readGgufHeader(source, options);
  } catch (error) {
    await source.close();
    throw error;
  }
}

function countShards({ source, header }: GgufFile, path: string): number {
  const metadata = new Metadata(header.metadata, source.name);
  const count = metadata.number("split.count") ?? 1;
  if (count <= 1) return 1;
  checkNumber(metadata.number("split.no") ?? 0, 0, source.name);
  const named = SHARD.exec(path);
  if (count <= MAX_SHARDS && named !== null && Number(named[3]) === count) return count;
  throw new TureenError(
    "FORMAT_INVALID",
    "the file's name is not that of the first of its shards",
    {
      expected: `NAME-00001-of-${String(count).padStart(5, "0")}.gguf, at most ${MAX_SHARDS} files`,
      found: path,
      where: source.name,
    },
  );
}

function checkNumber(found: number, expected: number, where: string): void {
  if (found === expected) return;
  throw new TureenError("FORMAT_INVALID", "this is another shard than its name says", {
    expected: `shard ${expected + 1}`,
    found: `shard ${found + 1}`,
    where,
    ...(expected === 0 ? { hint: "Name the first one: the others are found beside it." } : {}),
  });
}
