// A GGUF LoRA file as PEFT's folder: adapter_config.json is made from the metadata and the factors' shapes, tensors have PEFT's
// names. llama.cpp scales a factor pair by alpha / rank, and by 1 if alpha is 0.
import { TureenError } from "../../errors.ts";
import { openMemory } from "../../sources/memory.ts";
import type { FileSet, ReadOptions } from "../../sources/source.ts";
import type { Checkpoint } from "../checkpoint.ts";
import { createGgufCheckpoint } from "./checkpoint.ts";
import { Metadata } from "./metadata.ts";
import { toHubName } from "./names.ts";
import { chooseGguf, openGgufFiles } from "./shards.ts";

export interface GgufAdapterOptions extends ReadOptions {
  /** Rows of a head of the base model: llama.cpp holds the rows of q and k in another order. Without it no such B can be read. */
  readonly headDim?: number | undefined;
}

/**
 * Opens a LoRA file. Reads its header only.
 * @returns a folder with adapter_config.json, and the weights, which are the caller's to close
 * @throws TureenError `ADAPTER_UNSUPPORTED` for what is no LoRA adapter, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export async function openGgufAdapter(
  folder: FileSet,
  names: readonly string[],
  options: GgufAdapterOptions = {},
): Promise<{ files: FileSet; checkpoint: Checkpoint }> {
  const path = chooseGguf(folder, names);
  const opened = await openGgufFiles(folder, names, { signal: options.signal });
  const [{ source, header }] = opened;
  try {
    const metadata = new Metadata(header.metadata, source.name);
    checkKind(metadata, source.name);
    const checkpoint = createGgufCheckpoint(opened, {
      name: source.name,
      architecture: metadata.text("general.architecture") ?? "",
      headDim: options.headDim,
      rename: toPeftName,
    });
    const json = toPeftConfig(metadata, checkpoint);
    return { files: createFiles(folder, path, json), checkpoint };
  } catch (error) {
    for (const file of opened) await file.source.close();
    throw error;
  }
}

function checkKind(metadata: Metadata, file: string): void {
  const kind = metadata.text("general.type");
  const type = metadata.text("adapter.type");
  if (kind === "adapter" && type === "lora") return;
  throw new TureenError("ADAPTER_UNSUPPORTED", "the GGUF file is no LoRA adapter", {
    expected: "general.type adapter, adapter.type lora",
    found: `general.type ${kind ?? "missing"}, adapter.type ${type ?? "missing"}`,
    where: file,
    ...(type === "alora" ? { hint: "Activated LoRA (aLoRA) is not supported." } : {}),
  });
}

/** Whether a GGUF file says that it is an adapter. */
export async function isGgufAdapter(
  folder: FileSet,
  names: readonly string[],
  options?: ReadOptions,
): Promise<boolean> {
  const opened = await openGgufFiles(folder, names, { signal: options?.signal });
  const [{ header }] = opened;
  for (const { source } of opened) await source.close();
  return header.metadata.get("general.type") === "adapter";
}

/** `blk.0.attn_q.weight.lora_a` → `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight` */
function toPeftName(name: string): string {
  const [, tensor, factor] = /^(.+)\.weight\.lora_([ab])$/.exec(name) ?? [];
  if (tensor === undefined || factor === undefined) return toHubName(name);
  const module = toHubName(tensor);
  const upper = factor.toUpperCase();
  const part = module.endsWith("embed_tokens") ? `lora_embedding_${upper}` : `lora_${upper}.weight`;
  return `base_model.model.${module}.${part}`;
}

function toPeftConfig(metadata: Metadata, checkpoint: Checkpoint): Record<string, unknown> {
  const alpha = metadata.number("adapter.lora.alpha") ?? 0;
  const ranks = new Map<string, number>();
  for (const { name, shape } of checkpoint.tensors.values()) {
    const module = /^base_model\.model\.(.+)\.lora_A\.weight$/.exec(name)?.[1];
    if (module !== undefined) ranks.set(module, shape[0]!);
  }
  const rank = Math.max(1, ...ranks.values());
  const others = [...ranks].filter(([, r]) => r !== rank);
  const scaleByRank = alpha === 0; // then alpha / rank is 1
  return {
    peft_type: "LORA",
    r: rank,
    lora_alpha: scaleByRank ? rank : alpha,
    target_modules: listTargets([...ranks.keys()]),
    rank_pattern: Object.fromEntries(others),
    alpha_pattern: scaleByRank ? Object.fromEntries(others) : {},
    base_model_name_or_path: findBase(metadata),
  };
}

/** By their last names if all layers have the same modules, as PEFT lists them, else by their paths. */
function listTargets(paths: readonly string[]): string[] {
  const nameOf = (path: string): string => path.split(".").at(-1)!;
  const layerOf = (path: string): string => /\.layers\.(\d+)\./.exec(path)?.[1] ?? "";
  const inLayers = paths.filter((path) => layerOf(path) !== "");
  const layers = new Set(inLayers.map(layerOf)).size;
  const highest = inLayers.reduce((most, path) => Math.max(most, Number(layerOf(path))), -1);
  const names = new Set(inLayers.map(nameOf));
  const isEven = highest + 1 === layers && layers * names.size === inLayers.length;
  return isEven ? [...new Set(paths.map(nameOf))] : [...paths];
}

function findBase(metadata: Metadata): string | null {
  const url = metadata.text("general.base_model.0.repo_url");
  return /^https:\/\/huggingface\.co\/([\w.-]+\/[\w.-]+)$/.exec(url ?? "")?.[1] ?? null;
}

function createFiles(folder: FileSet, path: string, json: Record<string, unknown>): FileSet {
  const { hubId, origin } = folder;
  const config = new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`);
  return {
    name: folder.named === undefined ? `${folder.name}/${path}` : folder.name,
    hubId,
    origin,
    named: path,
    async open(name, options) {
      if (name === "adapter_config.json") return openMemory(`${name} of ${path}`, config);
      return name === path ? folder.open(path, options) : undefined;
    },
  };
}
