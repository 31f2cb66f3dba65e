// Finds a model's weights in a folder: one safetensors file, or shards and their index. The result looks the same.
import { TureenError, throwIfAborted } from "../errors.ts";
import { readJson } from "../sources/open.ts";
import { findPathFault } from "../sources/path.ts";
import type { FileSet, OpenFileOptions, ReadOptions } from "../sources/source.ts";
import type { Checkpoint, TensorInfo } from "./checkpoint.ts";
import { openSafetensors } from "./safetensors.ts";

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
/** The largest models have some hundreds; each one costs a request and an open file. */
const MAX_SHARDS = 4096;

/**
 * Opens `model.safetensors`, or else the shards of `model.safetensors.index.json`. Only headers are read.
 * @throws TureenError `SOURCE_NOT_FOUND` if neither is there or a shard is missing; `FORMAT_INVALID` if index and shards
 *   disagree. Nothing stays open.
 * @param options with `early`, weights may be read while they arrive, until `settle`
 */
export async function openCheckpoint(
  files: FileSet,
  options?: OpenFileOptions,
): Promise<Checkpoint> {
  const single = await files.open(SINGLE, options);
  if (single !== undefined) return openSafetensors(single, options);
  const index = await readJson(files, INDEX, options);
  if (index !== undefined) return openShards(files, index, options);
  throw new TureenError("SOURCE_NOT_FOUND", "there are no weights", {
    expected: `${SINGLE} or ${INDEX}`,
    found: (await findOtherWeights(files, options)) ?? "neither",
    where: files.name,
    hint: "Convert other formats to safetensors, or name a GGUF file.",
  });
}

async function findOtherWeights(
  files: FileSet,
  options?: ReadOptions,
): Promise<string | undefined> {
  for (const path of ["pytorch_model.bin", "pytorch_model.bin.index.json"]) {
    const source = await files.open(path, options);
    await source?.close();
    if (source !== undefined) return path;
  }
  return undefined;
}

async function openShards(
  files: FileSet,
  index: unknown,
  options?: OpenFileOptions,
): Promise<Checkpoint> {
  const shardOf = checkIndex(index, files.name);
  const shards = new Map<string, Checkpoint>();
  const close = async (): Promise<void> => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  try {
    for (const path of new Set(shardOf.values())) {
      throwIfAborted(options?.signal);
      const source = await files.open(path, options);
      if (source === undefined) {
        throw new TureenError("SOURCE_NOT_FOUND", `the shard ${path} is missing`, {
          expected: `every file that ${INDEX} names`,
          where: files.name,
        });
      }
      shards.set(path, await openSafetensors(source, options));
    }
    const { tensors, homes } = joinShards(shards, shardOf, files.name);
    const identities = [...shards.values()].map(({ identity }) => identity);
    return {
      name: files.name,
      tensors,
      metadata: [...shards.values()][0]?.metadata ?? {},
      identity: identities.includes(undefined) ? undefined : identities.join("\n"),
      async read(name, offset, nBytes, options) {
        const shard = homes.get(name);
        if (shard !== undefined) return shard.read(name, offset, nBytes, options);
        const where = files.name;
        throw new TureenError("MODEL_TENSOR_MISSING", `there is no tensor ${name}`, { where });
      },
      async settle() {
        for (const shard of shards.values()) await shard.settle?.();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Tensor name → shard path. */
function checkIndex(index: unknown, where: string): Map<string, string> {
  const map = (index as { weight_map?: unknown } | null)?.weight_map;
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new TureenError("FORMAT_INVALID", `${INDEX} has no weight_map`, {
      expected: "a map from tensor names to files",
      where,
    });
  }
  const shardOf = new Map<string, string>();
  for (const [tensor, path] of Object.entries(map)) {
    const fault = typeof path === "string" ? findPathFault(path) : "it is not a string";
    if (fault !== undefined) {
      throw new TureenError("FORMAT_INVALID", `${INDEX} names an unusable file: ${fault}`, {
        expected: "a relative path inside the folder",
        found: JSON.stringify(path).slice(0, 80),
        where: `${tensor} in ${where}`,
      });
    }
    shardOf.set(tensor, path);
  }
  const count = new Set(shardOf.values()).size;
  if (count === 0 || count > MAX_SHARDS) {
    throw new TureenError("FORMAT_INVALID", `${INDEX} names too few or too many files`, {
      expected: `1 to ${MAX_SHARDS}`,
      found: String(count),
      where,
    });
  }
  return shardOf;
}

function joinShards(
  shards: ReadonlyMap<string, Checkpoint>,
  shardOf: ReadonlyMap<string, string>,
  where: string,
): { tensors: Map<string, TensorInfo>; homes: Map<string, Checkpoint> } {
  const tensors = new Map<string, TensorInfo>();
  const homes = new Map<string, Checkpoint>();
  for (const shard of shards.values()) {
    for (const [name, info] of shard.tensors) {
      const other = tensors.get(name);
      if (other !== undefined) {
        throw new TureenError("FORMAT_INVALID", `the tensor ${name} is in two shards`, {
          found: `${other.file} and ${info.file}`,
          where,
        });
      }
      tensors.set(name, info);
      homes.set(name, shard);
    }
  }
  for (const [name, path] of shardOf) {
    if (homes.get(name) === shards.get(path)) continue;
    throw new TureenError("FORMAT_INVALID", `the tensor ${name} is missing from its shard`, {
      expected: `in ${path}, as ${INDEX} says`,
      found: tensors.get(name)?.file ?? "in no shard",
      where,
    });
  }
  return { tensors, homes };
}
