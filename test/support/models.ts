// Models and adapters for tests below the API: loaded from folders, or random and in memory.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Backend, KvCache, SoupEntry, WeightType } from "../../src/backend/backend.ts";
import type { Checkpoint, DType, TensorInfo } from "../../src/formats/checkpoint.ts";
import { toFloat32 } from "../../src/formats/float.ts";
import { openCheckpoint } from "../../src/formats/open-checkpoint.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import { listLinears, type ModelConfig, parseModelConfig } from "../../src/model/config.ts";
import { type Banks, Decoder } from "../../src/model/decoder.ts";
import { type DecoderWeights, loadWeights } from "../../src/model/weights.ts";
import { openFileSet } from "../../src/sources/open.ts";
import { randomValues } from "./values.ts";

export type Quantize = "none" | "q8" | "q4";

export interface TestModel {
  readonly backend: Backend;
  readonly config: ModelConfig;
  readonly weights: DecoderWeights;
  readonly decoder: Decoder;
}

export const NO_BANKS: Banks = new Map();

// biome-ignore lint/suspicious/noExplicitAny: the tests know their own files
export function readJsonFile(...path: string[]): any {
  return JSON.parse(readFileSync(join(...path), "utf8"));
}

/** Opens a model folder's weights; close them after loading. */
export async function openModelFolder(
  folder: string,
): Promise<{ config: ModelConfig; checkpoint: Checkpoint }> {
  const config = parseModelConfig(readJsonFile(folder, "config.json"), undefined, folder);
  return { config, checkpoint: await openCheckpoint(await openFileSet(folder)) };
}

export async function buildModel(
  backend: Backend,
  config: ModelConfig,
  checkpoint: Checkpoint,
  { quantize = "none", chunkSize = 128 }: { quantize?: Quantize; chunkSize?: number } = {},
): Promise<TestModel> {
  const weights = await loadWeights(checkpoint, config, backend, { quantize });
  const decoder = new Decoder(backend, config, weights, { chunkSize });
  return { backend, config, weights, decoder };
}

export async function loadModelFolder(
  backend: Backend,
  folder: string,
  options?: { quantize?: Quantize; chunkSize?: number },
): Promise<TestModel> {
  const { config, checkpoint } = await openModelFolder(folder);
  const model = await buildModel(backend, config, checkpoint, options);
  await checkpoint.close();
  return model;
}

export function freeModel({ decoder, weights }: TestModel): void {
  decoder.dispose();
  weights.free();
}

/** A PEFT adapter in plain layout as bank entries by path, m = lora_alpha / r. */
export async function loadAdapterFolder(
  { backend, config }: TestModel,
  folder: string,
  type: WeightType = "f32",
): Promise<Map<string, SoupEntry>> {
  const { r: rank, lora_alpha: alpha } = readJsonFile(folder, "adapter_config.json");
  const tensors = await readTensors(folder, "adapter_model.safetensors");
  const entries = new Map<string, SoupEntry>();
  for (const { path, rows, cols } of listLinears(config)) {
    const a = tensors.get(`base_model.model.${path}.lora_A.weight`)?.values;
    const b = tensors.get(`base_model.model.${path}.lora_B.weight`)?.values;
    if (a === undefined || b === undefined) continue;
    const segment = backend.loadSegment({ name: path, rank, rows, cols, a, b }, type);
    entries.set(path, { segment, m: alpha / rank });
  }
  return entries;
}

/** Puts adapters side by side, each scaled by `weight(path, i)`. */
export function blend(
  adapters: readonly ReadonlyMap<string, SoupEntry>[],
  weight: (path: string, i: number) => number = () => 1,
): Banks {
  const banks = new Map<string, SoupEntry[]>();
  adapters.forEach((adapter, i) => {
    for (const [path, { segment, m }] of adapter) {
      const entries = banks.get(path) ?? [];
      entries.push({ segment, m: m * weight(path, i) });
      banks.set(path, entries);
    }
  });
  return banks;
}

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

/** All tensors of a safetensors file as numbers (I32 too, as ids are). */
export async function readTensors(
  folder: string,
  file: string,
): Promise<Map<string, GoldenTensor>> {
  const source = await (await openFileSet(folder)).open(file);
  const checkpoint = await openSafetensors(source!);
  const tensors = new Map<string, GoldenTensor>();
  for (const { name, dtype, shape } of checkpoint.tensors.values()) {
    const bytes = await checkpoint.read(name);
    const values =
      dtype === "I32"
        ? Float32Array.from(new Int32Array(bytes.slice().buffer))
        : toFloat32(bytes, dtype);
    tensors.set(name, { shape, values });
  }
  await checkpoint.close();
  return tensors;
}

/** Logits of all positions. */
export async function allLogits(
  { decoder, config }: TestModel,
  ids: ArrayLike<number>,
  banks: Banks = NO_BANKS,
): Promise<Float32Array> {
  const cache = decoder.createCache(config.maxPositions);
  const logits = await decoder.forward(ids, 0, cache, banks, "all");
  decoder.freeCache(cache);
  return logits!;
}

/** Greedy continuation, without the prompt; ends after `stop`, which is included. */
export async function greedy(
  { decoder, config }: TestModel,
  prompt: readonly number[],
  maxNew: number,
  banks: Banks = NO_BANKS,
  stop = -1,
): Promise<number[]> {
  const cache = decoder.createCache(Math.min(config.maxPositions, prompt.length + maxNew));
  const ids = [...prompt];
  let next = prompt;
  while (ids.length - prompt.length < maxNew) {
    const position = ids.length - next.length;
    const logits = await decoder.forward(next, position, cache, banks, "last");
    const id = logits!.indexOf(Math.max(...logits!));
    ids.push(id);
    if (id === stop) break;
    next = [id];
  }
  decoder.freeCache(cache);
  return ids.slice(prompt.length);
}

/** Runs several forward passes of the given sizes, one after another; logits of all positions. */
export async function logitsInPasses(
  { decoder, config }: TestModel,
  ids: readonly number[],
  sizes: readonly number[],
  banks: Banks,
  cache: KvCache = decoder.createCache(config.maxPositions),
): Promise<Float32Array> {
  const all = new Float32Array(ids.length * config.vocabSize);
  let position = 0;
  for (const size of sizes) {
    const part = ids.slice(position, position + size);
    const logits = await decoder.forward(part, position, cache, banks, "all");
    all.set(logits!, position * config.vocabSize);
    position += size;
  }
  decoder.freeCache(cache);
  return all;
}

/** A tiny config that every option can be switched on. */
export function tinyConfig(changes: Partial<ModelConfig> = {}): ModelConfig {
  return {
    modelType: "llama",
    vocabSize: 61,
    hiddenSize: 40,
    intermediateSize: 72,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 6,
    maxPositions: 64,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    ropeScaling: undefined,
    tieWordEmbeddings: false,
    attentionBias: false,
    attentionOutputBias: false,
    mlpBias: false,
    qkNorm: false,
    noRopeLayers: [],
    activation: "silu",
    embeddingScale: 1,
    normOffset: 0,
    queryScale: 1,
    outputNorms: false,
    sliding: undefined,
    bosTokenIds: [1],
    eosTokenIds: [2],
    ...changes,
  };
}

/** Gemma 3 in little: the last of every few layers sees all, the others the last `window` positions. */
export function tinyGemma3(
  changes: Partial<ModelConfig> = {},
  { window = 4, scalar = 24 }: { window?: number; scalar?: number } = {},
): ModelConfig {
  const { layers = 3, hiddenSize = 40, headDim = 16 } = changes;
  return tinyConfig({
    modelType: "gemma3_text",
    layers,
    hiddenSize,
    headDim,
    rmsNormEps: 1e-6,
    ropeTheta: 1e6,
    tieWordEmbeddings: true,
    qkNorm: true,
    activation: "gelu",
    embeddingScale: Math.sqrt(hiddenSize),
    normOffset: 1,
    queryScale: Math.sqrt(headDim / scalar),
    outputNorms: true,
    sliding: {
      window,
      ropeTheta: 10000,
      layers: Array.from({ length: layers - 1 }, (_, layer) => layer),
    },
    ...changes,
  });
}

/** Random weights of a config, f32, by transformers' names. */
export function randomTensors(config: ModelConfig): Map<string, GoldenTensor> {
  const tensors = new Map<string, GoldenTensor>();
  let seed = 1;
  const add = (name: string, shape: number[], scale: number, center = 0): void => {
    const n = shape.reduce((product, size) => product * size, 1);
    const values = randomValues(n, seed++, scale).map((value) => value + center);
    tensors.set(name, { shape, values });
  };
  add("model.embed_tokens.weight", [config.vocabSize, config.hiddenSize], 1);
  const around = 1 - config.normOffset;
  add("model.norm.weight", [config.hiddenSize], 0.3, around);
  for (let layer = 0; layer < config.layers; layer++) {
    const norms = config.outputNorms ? ["pre_feedforward", "post_feedforward"] : [];
    for (const which of ["input", "post_attention", ...norms])
      add(`model.layers.${layer}.${which}_layernorm.weight`, [config.hiddenSize], 0.3, around);
    if (!config.qkNorm) continue;
    add(`model.layers.${layer}.self_attn.q_norm.weight`, [config.headDim], 0.8, around + 0.5);
    add(`model.layers.${layer}.self_attn.k_norm.weight`, [config.headDim], 0.8, around + 0.5);
  }
  for (const { path, name, rows, cols } of listLinears(config)) {
    const scale = 1.5 / Math.sqrt(cols);
    if (name !== "lm_head" || !config.tieWordEmbeddings) add(`${path}.weight`, [rows, cols], scale);
    const biased =
      name === "o_proj"
        ? config.attentionOutputBias
        : /^[qkv]_/.test(name)
          ? config.attentionBias
          : name !== "lm_head" && config.mlpBias;
    if (biased) add(`${path}.bias`, [rows], 0.5);
  }
  return tensors;
}

/** A checkpoint of f32 tensors in memory. */
export function memoryCheckpoint(
  tensors: ReadonlyMap<string, GoldenTensor>,
  dtypes: Readonly<Record<string, DType>> = {},
): Checkpoint {
  const infos = new Map<string, TensorInfo>();
  for (const [name, { shape, values }] of tensors) {
    const nBytes = values.byteLength;
    infos.set(name, {
      name,
      dtype: dtypes[name] ?? "F32",
      shape,
      nBytes,
      file: "memory.safetensors",
    });
  }
  return {
    name: "memory.safetensors",
    tensors: infos,
    metadata: {},
    async read(name, offset = 0, nBytes) {
      const { values } = tensors.get(name)!;
      const length = nBytes ?? values.byteLength - offset;
      return new Uint8Array(values.buffer, values.byteOffset + offset, length);
    },
    close: async () => undefined,
  };
}
