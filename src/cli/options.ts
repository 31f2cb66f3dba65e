// Flags that several commands share, and what they stand for: a loaded model, its adapters, a soup.
import { readFile } from "node:fs/promises";
import type { ParseArgsConfig } from "node:util";
import { type LoadModelOptions, loadModel } from "../api/load-model.ts";
import type { LoadProgress } from "../api/load-progress.ts";
import type { Model } from "../api/model.ts";
import { openWorkbench, type Workbench } from "../api/workbench.ts";
import { BUILDS } from "../backend/wasm/builds.ts";
import { TureenError } from "../errors.ts";
import type { GenerateOptions } from "../generate/options.ts";
import type { Soup } from "../soup/soup.ts";
import type { Warning } from "../sources/hub-options.ts";
import { note } from "./output.ts";
import { createProgress, type Progress } from "./progress.ts";
import {
  choiceFlag,
  type Flags,
  integerFlag,
  listFlag,
  numberFlag,
  parsePair,
  parseWeights,
  requiredFlag,
  textFlag,
  UsageError,
} from "./usage.ts";

type FlagTable = NonNullable<ParseArgsConfig["options"]>;

export const MODEL_FLAGS: FlagTable = {
  model: { type: "string" },
  adapter: { type: "string", multiple: true },
  soup: { type: "string" },
  "allow-mismatch": { type: "boolean" },
  backend: { type: "string" },
  build: { type: "string" },
  threads: { type: "string" },
  quantize: { type: "string" },
  context: { type: "string" },
  "kv-cache": { type: "string" },
  "packed-cache": { type: "boolean" },
  "no-packed-cache": { type: "boolean" },
};

export const MODEL_HELP = `  --model DIR             the base model in Hugging Face's layout: a directory, a URL, or
                          a repository of the Hub, org/name or org/name@revision;
                          or a GGUF file in one of these
  --adapter NAME=DIR      a PEFT LoRA adapter or a GGUF one, likewise; may be repeated
  --soup NAME=W,NAME=W    weights of the adapters (default: a single adapter has weight 1), or
  --soup FILE             a soup.json, or
  --soup cat              the learned weights that adapters of LoRA Soups' released code carry
  --allow-mismatch        accept adapters that are not the ones soup.json was made from
  --backend B             auto (default), webgpu, wasm, reference
  --threads N             default: chosen by the backend
  --quantize Q            none, q8, q4 (default: as the file holds its weights)
  --context N             positions of the KV cache
  --kv-cache T            f32 (default), or f16 in half the memory
  --packed-cache          keep q8 and q4 weights packed, to load them faster the next time
                          (default for models of the Hub); --no-packed-cache: do not`;

export const SAMPLING_FLAGS: FlagTable = {
  "max-tokens": { type: "string" },
  seed: { type: "string" },
  temperature: { type: "string" },
  "top-k": { type: "string" },
  "top-p": { type: "string" },
  "min-p": { type: "string" },
  "repetition-penalty": { type: "string" },
  "presence-penalty": { type: "string" },
  "frequency-penalty": { type: "string" },
  stop: { type: "string", multiple: true },
  "ignore-eos": { type: "boolean" },
  "no-speculation": { type: "boolean" },
};

export const SAMPLING_HELP = `  --max-tokens N          default: until the model stops or the context is full
  --temperature T         default 0: always the most probable token
  --top-k K --top-p P --min-p P
  --repetition-penalty X --presence-penalty X --frequency-penalty X
  --seed N                the same seed gives the same text on every host
  --stop TEXT             end before this text; may be repeated
  --ignore-eos            go on through the model's end-of-text token
  --no-speculation        never run expected tokens ahead (the text is the same)`;

/** What a command works with; disposing of the model releases all of it. */
export interface OpenedModel {
  readonly model: Model;
  readonly soup: Soup | undefined;
  readonly loadMs: number;
}

/** Loads model, adapters and soup as the flags say, with a progress bar on a terminal. */
export async function openModel(flags: Flags): Promise<OpenedModel> {
  const source = requiredFlag(flags, "model", "DIR");
  const adapters = adapterFlags(flags);
  const makeSoup = await readSoupFlag(flags, adapters);
  const options = loadOptions(flags);
  const start = performance.now();
  const bars = createLoadBars();
  const { onProgress } = bars;
  let model: Model | undefined;
  try {
    model = await loadModel(source, {
      ...options,
      onProgress,
      onWarning,
    });
    bars.stop();
    for (const [name, directory] of adapters) {
      await model.loadAdapter(directory, { name, onProgress, onWarning });
      bars.stop();
    }
    const soup = await makeSoup?.(model);
    return { model, soup, loadMs: performance.now() - start };
  } catch (error) {
    await model?.dispose();
    throw error;
  } finally {
    bars.stop();
  }
}

/** Warnings for people. */
export function onWarning({ message }: Warning): void {
  note(`warning: ${message}`);
}

/** A bar for each phase of loading, one after the other. */
function createLoadBars(): { onProgress: (progress: LoadProgress) => void; stop: () => void } {
  let phase: LoadProgress["phase"] | undefined;
  let bar: Progress | undefined;
  const stop = (): void => {
    bar?.stop();
    phase = undefined;
  };
  return {
    onProgress(progress) {
      if (phase !== progress.phase) {
        stop();
        phase = progress.phase;
        bar = createProgress(phase === "download" ? "downloading" : "loading");
      }
      bar?.update(progress.bytesDone, progress.bytesTotal);
    },
    stop,
  };
}

export function loadOptions(flags: Flags): LoadModelOptions {
  return {
    backend: choiceFlag(flags, "backend", ["auto", "webgpu", "wasm", "reference"]),
    build: choiceFlag(flags, "build", BUILDS),
    threads: integerFlag(flags, "threads", 1),
    quantize: choiceFlag(flags, "quantize", ["none", "q8", "q4"]),
    contextLength: integerFlag(flags, "context", 1),
    kvCache: choiceFlag(flags, "kv-cache", ["f32", "f16"]),
    packedCache:
      flags["no-packed-cache"] === true ? false : flags["packed-cache"] === true || undefined,
  };
}

export function samplingOptions(flags: Flags): GenerateOptions {
  const stop = listFlag(flags, "stop");
  return {
    maxTokens: integerFlag(flags, "max-tokens", 0),
    seed: integerFlag(flags, "seed", 0),
    temperature: numberFlag(flags, "temperature"),
    topK: integerFlag(flags, "top-k", 0),
    topP: numberFlag(flags, "top-p"),
    minP: numberFlag(flags, "min-p"),
    repetitionPenalty: numberFlag(flags, "repetition-penalty"),
    presencePenalty: numberFlag(flags, "presence-penalty"),
    frequencyPenalty: numberFlag(flags, "frequency-penalty"),
    stop: stop.length > 0 ? stop : undefined,
    ignoreEos: flags["ignore-eos"] === true ? true : undefined,
    speculation: flags["no-speculation"] === true ? false : undefined,
  };
}

/** Adapters and soup as the flags say, without the base's weights: for commands that only blend. */
export async function openSoup(flags: Flags): Promise<{ workbench: Workbench; soup: Soup }> {
  const source = requiredFlag(flags, "model", "DIR");
  const adapters = adapterFlags(flags);
  if (adapters.length === 0) throw new UsageError("--adapter NAME=DIR is missing");
  const makeSoup = await readSoupFlag(flags, adapters);
  const workbench = await openWorkbench(source, { onWarning });
  try {
    for (const [name, directory] of adapters) await workbench.loadAdapter(directory, { name });
    return { workbench, soup: await makeSoup!(workbench) };
  } catch (error) {
    await workbench.close();
    throw error;
  }
}

function adapterFlags(flags: Flags): [name: string, directory: string][] {
  return listFlag(flags, "adapter").map((text) => parsePair(text, "--adapter", "NAME=DIR"));
}

/** Makes a soup of what is loaded. */
type SoupOf = (maker: Pick<Model, "soup" | "loadSoup" | "catSoup">) => Soup | Promise<Soup>;

/** `--soup` as a function of what is loaded; usage mistakes show before anything is. */
async function readSoupFlag(
  flags: Flags,
  adapters: readonly [name: string, directory: string][],
): Promise<SoupOf | undefined> {
  const text = textFlag(flags, "soup");
  if (text === undefined) {
    if (adapters.length === 0) return undefined;
    if (adapters.length === 1) return (maker) => maker.soup({ [adapters[0]![0]]: 1 });
    throw new UsageError("several adapters need --soup NAME=WEIGHT,… or --soup FILE");
  }
  if (text === "cat") return (maker) => maker.catSoup(adapters.map(([name]) => name));
  if (!text.endsWith(".json")) {
    const weights = parseWeights(text, "--soup");
    return (maker) => maker.soup(weights);
  }
  const recipe = await readRecipe(text);
  const allowMismatch = flags["allow-mismatch"] === true;
  return (maker) => maker.loadSoup(recipe, { allowMismatch });
}

async function readRecipe(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const code = (cause as { code?: string }).code === "ENOENT" ? "NOT_FOUND" : "READ_FAILED";
    throw new TureenError(
      `SOURCE_${code}`,
      "cannot read the soup",
      { found, where: path },
      { cause },
    );
  }
}
