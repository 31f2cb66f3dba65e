// Loads a base model: config, tokenizer, weights, backend. Weights are packed while they arrive from a hub, and no model is
// returned before the whole file was checked. If anything fails, everything that was opened or allocated is
// released before the error reaches the caller.
import type { Backend, KvCacheType } from "../backend/backend.ts";
import { type BackendOptions, chooseBackend } from "../backend/create-backend.ts";
import { TureenError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { type ModelFiles, openModelFiles } from "../formats/model-files.ts";
import type { ModelConfig } from "../model/config.ts";
import { Decoder } from "../model/decoder.ts";
import {
  type DecoderWeights,
  loadWeights,
  type PackedWeights,
  planWeights,
} from "../model/weights.ts";
import type { HubOptions, Warning } from "../sources/hub-options.ts";
import { type FileSetInput, openFileSet } from "../sources/open.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import { type LoadProgress, reportLoading } from "./load-progress.ts";
import { Model } from "./model.ts";
import { readConfig } from "./read-config.ts";
import { loadTextTools } from "./text-tools.ts";

/** How to load a model. */
export interface LoadModelOptions {
  /**
   * `auto` (default) takes the fastest that runs here: `webgpu` where there is a GPU, else `wasm`; the model's `info.backend`
   * says which, and why. `reference` is plain TypeScript, slow, for comparison.
   */
  readonly backend?: BackendOptions["backend"] | undefined;
  /**
   * Where a GPU is lost while it works (a driver's reset, a laptop's other GPU), texts go on on wasm from their token history.
   * Without it they fail with `BACKEND_FAILED`. Default false.
   */
  readonly fallback?: boolean | undefined;
  /** Default: chosen by the backend from the cores there are. */
  readonly threads?: number | undefined;
  /** Which build of the wasm kernels, e.g. `relaxed`; for tests and measurements. Default: the fastest that runs here. */
  readonly build?: BackendOptions["build"];
  /**
   * The kernels as compiled modules, one or several to choose from: `tureen/wasm/relaxed.wasm` and its siblings. Only for hosts
   * that refuse to compile bytes, such as Cloudflare Workers; everywhere else the package brings its own.
   */
  readonly wasm?: BackendOptions["wasm"];
  /**
   * How weights are held: `none` as floats with the file's values (wasm and WebGPU hold F16 and BF16 in the 16 bits they have), `q8`
   * in about 9 bits each, `q4` in about 5. Default: as the file holds them. That is `none` for safetensors. A GGUF file may hold each matrix in another type: Q8_0, Q6_K, Q5_* and IQ4_* are
   * held as q8, Q4_*, Q3_K and Q2_K as q4; the README says which of these are exact. Adapters are held as the
   * matrix beside them.
   */
  readonly quantize?: "none" | "q8" | "q4" | undefined;
  /**
   * Whether q8 and q4 weights are kept as the wasm backend packs them, so that the next load reads those instead of reading and
   * packing the files. They lie in `TUREEN_CACHE` or ~/.cache/tureen, or in the browser's storage, belong to the cache of the
   * hub (`openHubCache`), and are made anew when a file has changed. Default: for models of a hub that are kept in its cache.
   * True: also for a directory, or a URL whose server sends an etag or a date.
   */
  readonly packedCache?: boolean | undefined;
  /**
   * Positions of a KV cache: prompt and text together. Default: the model's own limit, but at most 2048, since memory
   * grows with it.
   */
  readonly contextLength?: number | undefined;
  /**
   * How KV caches hold keys and values: `f32` (default), or `f16` in half the memory, each value rounded to half precision.
   */
  readonly kvCache?: KvCacheType | undefined;
  /** How to reach a model hub, and where to keep what comes from it. Adapters are loaded with the same. */
  readonly hub?: HubOptions | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Told of what does not prevent the work but a person should know. */
  readonly onWarning?: ((warning: Warning) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_CONTEXT = 2048;
const QUANTIZE = [undefined, "none", "q8", "q4"];
const KV_CACHES = ["f32", "f16"];

/**
 * Loads a Llama-family model in Hugging Face's layout: `config.json`, `model.safetensors` or its shards, and
 * `tokenizer.json` if text is to be read and written (without it, prompts are token ids). Or in GGUF, where one file is all of it
 * (of a model in shards, the first one).
 * @param source a directory, an http(s) or file URL of one, a repository of a model hub (`org/name`, `org/name@revision`,
 * `hf://…`), or files by name; or a GGUF file in one of these (`dir/model.gguf`, `org/name/model.gguf`), which need not be named
 * where there is no other
 * @throws TureenError `SOURCE_NOT_FOUND`, `FORMAT_INVALID`, `MODEL_UNSUPPORTED`, `MODEL_TENSOR_MISMATCH`,
 * `WEIGHTS_NOT_FINITE`, `OPTION_INVALID`, `BACKEND_UNAVAILABLE`, `OUT_OF_MEMORY`, `ABORTED` and others
 */
export async function loadModel(
  source: FileSetInput,
  options: LoadModelOptions = {},
): Promise<Model> {
  const { backend: kind = "auto", threads, build, wasm, quantize, signal } = options;
  if (!QUANTIZE.includes(quantize)) {
    throw new TureenError("OPTION_INVALID", "option quantize is invalid", {
      expected: QUANTIZE.slice(1).join(", "),
      found: String(quantize),
    });
  }
  const { kvCache = "f32" } = options;
  if (!KV_CACHES.includes(kvCache)) {
    throw new TureenError("OPTION_INVALID", "option kvCache is invalid", {
      expected: KV_CACHES.join(", "),
      found: String(kvCache),
    });
  }
  const reading: ReadOptions = { signal };
  const { hub, onWarning } = options;
  const { onDownload, onLoad } = reportLoading(options.onProgress);
  const set = await openFileSet(source, { signal, hub, onDownload, onWarning });
  let opened: ModelFiles | undefined;
  let checkpoint: Checkpoint | undefined;
  let backend: Backend | undefined;
  try {
    opened = await openModelFiles(set, { signal, early: true });
    const { files } = opened;
    const config = await readConfig(files, reading);
    const contextLength = chooseContext(options.contextLength, config);
    const text = await loadTextTools(files, reading);
    checkpoint = await opened.openCheckpoint({ signal, early: true });
    const chosen = await chooseBackend({
      backend: kind,
      threads,
      build,
      wasm,
      fallback: options.fallback,
    });
    backend = chosen.backend;
    const parts = { files, checkpoint, config, backend, hub };
    const weights = await loadOrReadPacked(parts, options, onLoad);
    const decoder = new Decoder(backend, config, weights, { kvCache });
    const { reason } = chosen;
    return new Model({ ...parts, text, reason, weights, decoder, contextLength });
  } catch (error) {
    await backend?.dispose();
    await checkpoint?.close();
    await opened?.close();
    throw error;
  }
}

interface WeightParts {
  readonly files: FileSet;
  readonly checkpoint: Checkpoint;
  readonly config: ModelConfig;
  readonly backend: Backend;
  readonly hub: HubOptions | undefined;
}

/** Packed anew, or as an earlier load has kept them. */
async function loadOrReadPacked(
  parts: WeightParts,
  { quantize, packedCache, onWarning, signal }: LoadModelOptions,
  onProgress: ((bytesDone: number, bytesTotal: number) => void) | undefined,
): Promise<DecoderWeights> {
  const { files, checkpoint, config, backend } = parts;
  const load = async (packed?: PackedWeights): Promise<DecoderWeights> => {
    const options = { quantize, packed, signal, onProgress };
    const weights = await loadWeights(checkpoint, config, backend, options);
    await checkpoint.settle?.(); // weights were packed while they arrived: is the file what was promised?
    return weights;
  };
  const isKept = packedCache ?? files.origin?.cache !== undefined;
  const tensors = planWeights(checkpoint, config, quantize);
  if (!isKept || tensors.every(({ type }) => type === "f32")) return load();
  const { loadThroughCache } = await import("./packed-cache.ts");
  const isAsked = packedCache === true;
  return loadThroughCache(load, { ...parts, tensors, onWarning, isAsked });
}

function chooseContext(wanted: number | undefined, { maxPositions }: ModelConfig): number {
  if (wanted === undefined) return Math.min(maxPositions, DEFAULT_CONTEXT);
  if (Number.isSafeInteger(wanted) && wanted >= 1 && wanted <= maxPositions) return wanted;
  throw new TureenError("OPTION_INVALID", "option contextLength is invalid", {
    expected: `1 to ${maxPositions}, the model's max_position_embeddings`,
    found: String(wanted),
  });
}
