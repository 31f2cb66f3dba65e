// A GGUF model as a folder in transformers' layout: config.json, tokenizer.json and their companions are made from the metadata, so
// that whatever reads or copies them knows one layout only.
import { TureenError } from "../../errors.ts";
import { openMemory } from "../../sources/memory.ts";
import type { FileSet, OpenFileOptions } from "../../sources/source.ts";
import type { Checkpoint } from "../checkpoint.ts";
import { toFloat32 } from "../float.ts";
import type { ModelFiles } from "../model-files.ts";
import { createGgufCheckpoint, type GgufFile } from "./checkpoint.ts";
import { toConfigJson, toGenerationJson } from "./config.ts";
import { Metadata } from "./metadata.ts";
import { ROPE_FACTORS } from "./names.ts";
import { chooseGguf, openGgufFiles } from "./shards.ts";
import { type TokenizerFiles, toTokenizerFiles } from "./tokenizer.ts";

/** Of a head of 4096: config.json's limit. */
const MAX_ROPE_FACTORS = 2048;

/**
 * Opens a model. Reads headers only.
 * @param names its files in the folder, of which one is the model, or the first of its shards
 * @throws TureenError `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `MODEL_UNSUPPORTED`, `SOURCE_NOT_FOUND`
 */
export async function openGgufModel(
  folder: FileSet,
  names: readonly string[],
  options?: OpenFileOptions,
): Promise<ModelFiles> {
  const opened = await openGgufFiles(folder, names, options);
  try {
    return await describe(folder, chooseGguf(folder, names), opened);
  } catch (error) {
    for (const { source } of opened) await source.close();
    throw error;
  }
}

async function describe(
  folder: FileSet,
  path: string,
  opened: readonly [GgufFile, ...GgufFile[]],
): Promise<ModelFiles> {
  const [{ source, header }] = opened;
  const name = source.name;
  const metadata = new Metadata(header.metadata, name);
  if (metadata.text("general.type") === "adapter") {
    throw new TureenError("MODEL_UNSUPPORTED", "this is an adapter, not a model", {
      where: name,
      hint: "Load it beside its base model: with loadAdapter, or --adapter NAME=FILE.",
    });
  }
  const tensors = new Map(opened.flatMap(({ header }) => [...header.tensors]));
  const config = toConfigJson(tensors, metadata, await readRopeFactors(opened), name);
  const checkpoint = createGgufCheckpoint(opened, {
    name,
    architecture: metadata.text("general.architecture") ?? "",
    headDim: config.head_dim as number | undefined,
  });
  // a tokenizer is large, and asked for once
  let tokenizerConfig: object | undefined;
  const readText = (): TokenizerFiles => {
    const text = toTokenizerFiles(metadata, name);
    tokenizerConfig = text.config;
    return text;
  };
  const made: Readonly<Record<string, () => object | undefined>> = {
    "config.json": () => config,
    "generation_config.json": () => toGenerationJson(metadata),
    "tokenizer.json": () => readText().tokenizer,
    "tokenizer_config.json": () => tokenizerConfig ?? readText().config,
  };
  return { files: createFiles(folder, path, name, made), ...hold(checkpoint) };
}

/** The files that are made, and no others. */
function createFiles(
  { hubId, origin }: FileSet,
  path: string,
  name: string,
  made: Readonly<Record<string, () => object | undefined>>,
): FileSet {
  const place = origin?.folder ? `${origin.folder}/${path}` : path;
  return {
    name,
    hubId,
    origin: origin && { ...origin, folder: place },
    async open(path) {
      const json = Object.hasOwn(made, path) ? made[path]!() : undefined;
      if (json === undefined) return undefined;
      const text = `${JSON.stringify(json, null, path === "tokenizer.json" ? undefined : 2)}\n`;
      return openMemory(`${name}/${path}`, new TextEncoder().encode(text));
    },
  };
}

/** Closes the files unless the checkpoint has been given away. */
function hold(checkpoint: Checkpoint): Pick<ModelFiles, "openCheckpoint" | "close"> {
  let isGiven = false;
  return {
    async openCheckpoint() {
      isGiven = true;
      return checkpoint;
    },
    async close() {
      if (!isGiven) await checkpoint.close();
    },
  };
}

async function readRopeFactors(files: readonly GgufFile[]): Promise<Float32Array | undefined> {
  const file = files.find(({ header }) => header.tensors.has(ROPE_FACTORS));
  if (file === undefined) return undefined;
  const { source, header } = file;
  const { type, begin, nBytes, shape } = header.tensors.get(ROPE_FACTORS)!;
  if (type.name !== "F32" || shape.length !== 1 || shape[0]! > MAX_ROPE_FACTORS) {
    throw new TureenError("FORMAT_INVALID", `${ROPE_FACTORS} is not usable`, {
      expected: `F32 [at most ${MAX_ROPE_FACTORS}]`,
      found: `${type.name} [${shape.join(", ")}]`,
      where: source.name,
    });
  }
  return toFloat32((await source.read(begin, nBytes)).slice(), "F32");
}
