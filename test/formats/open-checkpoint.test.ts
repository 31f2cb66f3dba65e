import { readdir, readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { toFloat32 } from "../../src/formats/float.ts";
import { openCheckpoint } from "../../src/formats/open-checkpoint.ts";
import { collectBytes, writeSafetensors } from "../../src/formats/safetensors-writer.ts";
import { openMemory } from "../../src/sources/memory.ts";
import { type FileContent, openFileSet } from "../../src/sources/open.ts";
import type { ByteSource, FileSet } from "../../src/sources/source.ts";
import { describeWithSharedData, sharedData } from "../support/shared.ts";
import { failureOf } from "./failure.ts";

async function makeShard(tensors: Record<string, number[]>): Promise<Uint8Array> {
  const list = Object.entries(tensors).map(([name, bytes]) => ({
    name,
    dtype: "U8" as const,
    shape: [bytes.length],
    data: () => Uint8Array.from(bytes),
  }));
  return collectBytes(writeSafetensors(list, { format: "pt" }));
}

function makeIndex(weightMap: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ metadata: {}, weight_map: weightMap }));
}

const first = await makeShard({ a: [1], b: [2, 3] });
const second = await makeShard({ c: [4] });
const both = await makeShard({ a: [1], c: [4] });
const INDEX = "model.safetensors.index.json";

/** Files in memory that count what is open. */
function makeFiles(contents: Record<string, Uint8Array>): FileSet & { opened: Set<ByteSource> } {
  const opened = new Set<ByteSource>();
  return {
    name: "folder",
    opened,
    async open(path) {
      const content = contents[path];
      if (content === undefined) return undefined;
      const source = openMemory(path, content);
      opened.add(source);
      const { close } = source;
      source.close = async () => {
        opened.delete(source);
        await close();
      };
      return source;
    },
  };
}

test("shards look like one file", async () => {
  const files = makeFiles({
    [INDEX]: makeIndex({ a: "x/1.safetensors", b: "x/1.safetensors", c: "2.safetensors" }),
    "x/1.safetensors": first,
    "2.safetensors": second,
  });
  const checkpoint = await openCheckpoint(files);
  expect([...checkpoint.tensors.keys()]).toEqual(["a", "b", "c"]);
  expect(checkpoint.metadata).toEqual({ format: "pt" });
  expect([...(await checkpoint.read("b", 1))]).toEqual([3]);
  expect([...(await checkpoint.read("c"))]).toEqual([4]);
  expect(await failureOf(() => checkpoint.read("d"))).toMatchInlineSnapshot(
    `"MODEL_TENSOR_MISSING: there is no tensor d (folder)"`,
  );
  expect(files.opened.size).toBe(2);
  await checkpoint.close();
  expect(files.opened.size).toBe(0);
});

test("a single file goes before an index", async () => {
  const checkpoint = await openCheckpoint(
    makeFiles({ "model.safetensors": second, [INDEX]: makeIndex({}) }),
  );
  expect([...checkpoint.tensors.keys()]).toEqual(["c"]);
});

describe("refused, and nothing stays open", () => {
  const pair = { "1.safetensors": first, "2.safetensors": second };
  const map = { a: "1.safetensors", b: "1.safetensors", c: "2.safetensors" };
  const cases: Record<string, Record<string, Uint8Array>> = {
    "no weights": {},
    "PyTorch weights": { "pytorch_model.bin": first },
    "sharded PyTorch weights": { "pytorch_model.bin.index.json": first },
    "a missing shard": { [INDEX]: makeIndex(map), "1.safetensors": first },
    "a damaged shard": {
      [INDEX]: makeIndex(map),
      ...pair,
      "2.safetensors": second.subarray(0, -1),
    },
    "a shard that is a Git LFS pointer": {
      [INDEX]: makeIndex(map),
      ...pair,
      "2.safetensors": new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid"),
    },
    "a tensor in two shards": { [INDEX]: makeIndex(map), ...pair, "2.safetensors": both },
    "a tensor in no shard": { [INDEX]: makeIndex({ ...map, d: "2.safetensors" }), ...pair },
    "a tensor in another shard": { [INDEX]: makeIndex({ ...map, b: "2.safetensors" }), ...pair },
    "a path that leaves the folder": {
      [INDEX]: makeIndex({ ...map, c: "../2.safetensors" }),
      ...pair,
    },
    "an absolute path": { [INDEX]: makeIndex({ ...map, c: "/2.safetensors" }), ...pair },
    "a path that is a number": { [INDEX]: makeIndex({ ...map, c: 2 }), ...pair },
    "an index without a map": { [INDEX]: makeIndex(undefined), ...pair },
    "an index that is a list": { [INDEX]: new TextEncoder().encode("[]"), ...pair },
    "an index that is null": { [INDEX]: new TextEncoder().encode("null"), ...pair },
    "an index that is an HTML page": { [INDEX]: new TextEncoder().encode("<html>"), ...pair },
    "an empty map": { [INDEX]: makeIndex({}), ...pair },
    "too many shards": {
      [INDEX]: makeIndex(
        Object.fromEntries(Array.from({ length: 4097 }, (_, i) => [`t${i}`, `${i}`])),
      ),
    },
  };
  test.each(Object.entries(cases))("%s", async (title, contents) => {
    const files = makeFiles(contents);
    expect({ [title]: await failureOf(() => openCheckpoint(files)) }).toMatchSnapshot();
    expect(files.opened.size).toBe(0);
  });
});

test("aborts between shards", async () => {
  const files = makeFiles({ [INDEX]: makeIndex({ a: "1.safetensors" }), "1.safetensors": first });
  const signal = AbortSignal.abort();
  expect(await failureOf(() => openCheckpoint(files, { signal }))).toMatch(/^ABORTED/);
});

describeWithSharedData("stories260K", () => {
  const folder = (variant: string): string => sharedData("stories260K", `hf-${variant}`);
  /** Relative error of rounding to the type: half a unit in the last place, for values that are normal in it. */
  const bounds = { f16: 2 ** -11, bf16: 2 ** -8, sharded: 0 };

  test.each(["f16", "bf16", "sharded"] as const)(
    "%s holds the same model as f32",
    async (variant) => {
      const reference = await openCheckpoint(await openFileSet(folder("f32")));
      const checkpoint = await openCheckpoint(await openFileSet(folder(variant)));
      expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(reference.tensors.keys()));
      expect(checkpoint.tensors.size).toBeGreaterThan(40);
      for (const [name, info] of reference.tensors) {
        const other = checkpoint.tensors.get(name)!;
        expect(other.shape).toEqual(info.shape);
        const exact = toFloat32(await reference.read(name), info.dtype);
        const actual = toFloat32(await checkpoint.read(name), other.dtype);
        for (let i = 0; i < exact.length; i++) {
          const error = Math.abs(actual[i]! - exact[i]!);
          // 2^-25: half of F16's smallest step, for values below its normal range.
          const bound = bounds[variant] * Math.abs(exact[i]!) + (variant === "f16" ? 2 ** -25 : 0);
          if (!(error <= bound)) throw new Error(`${name}[${i}]: ${actual[i]} for ${exact[i]}`);
        }
      }
      await Promise.all([reference.close(), checkpoint.close()]);
    },
  );

  test("from memory and from Blobs it reads as from the disk", async () => {
    const contents: Record<string, FileContent> = {};
    for (const file of await readdir(folder("sharded"))) {
      const bytes = await readFile(sharedData("stories260K", "hf-sharded", file));
      contents[file] = file.includes("00002") ? new Blob([bytes]) : bytes;
    }
    const memory = await openCheckpoint(await openFileSet(contents));
    const disk = await openCheckpoint(await openFileSet(folder("sharded")));
    for (const name of disk.tensors.keys()) {
      expect(Buffer.compare(await memory.read(name), await disk.read(name))).toBe(0);
    }
    await disk.close();
  });
});
