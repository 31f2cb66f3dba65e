// What a model and its adapters say about themselves, as plain data for people and programs.
import type { Backend, WeightType } from "../backend/backend.ts";
import type { ModelConfig } from "../model/config.ts";
import type { DecoderWeights } from "../model/weights.ts";
import type { LoadedAdapter } from "../soup/loaded-adapters.ts";

/** Which backend runs a model. */
export interface BackendInfo {
  readonly name: Backend["name"];
  /** Which variant, e.g. `relaxed-threads`. */
  readonly build: string;
  readonly threads: number;
  /** Why this backend was chosen, for people. */
  readonly reason: string;
}

/** A loaded model. */
export interface ModelInfo {
  /** Where it came from. */
  readonly name: string;
  readonly config: ModelConfig;
  readonly backend: BackendInfo;
  /** How its matrices are held; a GGUF file may have several types. */
  readonly weightType: WeightType | "mixed";
  /** Memory of the weights as packed, in bytes. */
  readonly weightBytes: number;
  /** Positions of a KV cache. */
  readonly contextLength: number;
}

/** A loaded adapter. */
export interface AdapterInfo {
  readonly name: string;
  /** Where it came from. */
  readonly source: string;
  /** Linear layers it changes. */
  readonly modules: number;
  /** Their module paths, in model order: what `soup.setLinear` takes. */
  readonly linears: readonly string[];
  /** The ranks that occur, ascending. */
  readonly ranks: readonly number[];
  /** Memory as packed, in bytes. */
  readonly nBytes: number;
}

export function describeModel(model: {
  name: string;
  config: ModelConfig;
  backend: Backend;
  reason: string;
  weights: DecoderWeights;
  contextLength: number;
}): ModelInfo {
  const { name, config, backend, reason, weights, contextLength } = model;
  const [type = "f32", ...others] = new Set(
    [...weights.linears.values()].map(({ matrix }) => matrix.type),
  );
  return {
    name,
    config,
    backend: { name: backend.name, build: backend.build, threads: backend.threads, reason },
    weightType: others.length === 0 ? type : "mixed",
    weightBytes: weights.nBytes,
    contextLength,
  };
}

export function describeAdapter({ name, adapter, modules, nBytes }: LoadedAdapter): AdapterInfo {
  const ranks = [...new Set(modules.map(({ segment }) => segment.rank))].sort((a, b) => a - b);
  const linears = modules.map(({ linear }) => linear.path);
  return { name, source: adapter.source, modules: modules.length, linears, ranks, nBytes };
}
