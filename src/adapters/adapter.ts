// Opens a LoRA adapter (PEFT's folder, or a GGUF file, which is made to look like one) for a base model: config and tensors are checked against each other and against the base's linear
// layers before any weight is read, so that a wrong adapter is refused and never half applied. Knows nothing of backends.
import { TureenError } from "../errors.ts";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint.ts";
import { findNotFinite, toFloat32 } from "../formats/float.ts";
import { findGguf } from "../formats/model-files.ts";
import { type PeftConfig, parsePeftConfig } from "../formats/peft-config.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import type { LinearInfo } from "../model/config.ts";
import { readJson } from "../sources/open.ts";
import type { FileSet, ReadOptions } from "../sources/source.ts";
import { type AdapterModule, checkAgainstBase } from "./adapter-check.ts";
import { groupTensors, type LoraTensors } from "./adapter-tensors.ts";
import { checkSavedModules, differenceFactors } from "./saved-modules.ts";

export type { AdapterModule } from "./adapter-check.ts";

/** One module's weights, f32 and finite, the caller's own. */
export interface AdapterWeights {
  /** [rank, cols] */
  readonly a: Float32Array;
  /** [rows, rank] */
  readonly b: Float32Array;
  /** [rows] */
  readonly bias: Float32Array | undefined;
}

/** An opened adapter that fits its base. Weights are read on demand. */
export interface Adapter {
  /** For messages: the folder. */
  readonly source: string;
  /** In PEFT's layout. */
  readonly files: FileSet;
  readonly config: PeftConfig;
  /** The linear layers it changes, in model order. */
  readonly modules: ReadonlyMap<string, AdapterModule>;
  /** @throws TureenError `WEIGHTS_NOT_FINITE`, and whatever the source throws */
  readModule(path: string, options?: ReadOptions): Promise<AdapterWeights>;
  /**
   * Of adapters saved by LoRA Soups' released code: the logit of its weight in each module that has one; no others have any.
   * @throws TureenError as `readModule`
   */
  readCatLogits(options?: ReadOptions): Promise<ReadonlyMap<string, number>>;
  close(): Promise<void>;
}

export interface OpenAdapterOptions extends ReadOptions {
  /** The base's weight of a linear layer, f32 [rows, cols]: asked for when the adapter saved that module whole. */
  readonly readBase?: ((path: string) => Promise<Float32Array>) | undefined;
  /** Of the base. GGUF adapters hold rows of q and k in an order that depends on it. */
  readonly headDim?: number | undefined;
}

/** An adapter's two files, opened without a base model. */
export interface AdapterFiles {
  /** In PEFT's layout. */
  readonly files: FileSet;
  readonly config: PeftConfig;
  /** The config's file, for messages. */
  readonly configFile: string;
  readonly checkpoint: Checkpoint;
}

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

/**
 * Opens `adapter_config.json` and `adapter_model.safetensors`, or a GGUF file. The checkpoint is the caller's to close.
 * @throws TureenError `SOURCE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `ADAPTER_CONFIG_INVALID`,
 *   `ADAPTER_UNSUPPORTED`
 */
export async function openAdapterFiles(
  files: FileSet,
  options?: OpenAdapterOptions,
): Promise<AdapterFiles> {
  const gguf = await findGguf(files, CONFIG, options);
  if (gguf.length > 0) {
    const { openGgufAdapter } = await import("../formats/gguf/adapter.ts");
    const { files: made, checkpoint } = await openGgufAdapter(files, gguf, options);
    return { files: made, ...(await readConfig(made)), checkpoint };
  }
  const { config, configFile } = await readConfig(files, options);
  const source = await files.open(WEIGHTS, options);
  if (source === undefined) throw await weightsMissing(files, options);
  return { files, config, configFile, checkpoint: await openSafetensors(source, options) };
}

async function readConfig(
  files: FileSet,
  options?: ReadOptions,
): Promise<Pick<AdapterFiles, "config" | "configFile">> {
  const json = await readJson(files, CONFIG, options);
  if (json === undefined) {
    throw new TureenError("SOURCE_NOT_FOUND", `there is no ${CONFIG}`, {
      expected: "the folder of a PEFT adapter",
      where: files.name,
    });
  }
  const configFile = `${CONFIG} in ${files.name}`;
  return { config: parsePeftConfig(json, configFile), configFile };
}

async function weightsMissing(files: FileSet, options?: ReadOptions): Promise<TureenError> {
  const pickle = await files.open("adapter_model.bin", options);
  await pickle?.close();
  const where = files.name;
  if (pickle === undefined) {
    return new TureenError("SOURCE_NOT_FOUND", `there is no ${WEIGHTS}`, { where });
  }
  return new TureenError("FORMAT_UNSUPPORTED", "adapters saved as PyTorch pickles are not read", {
    expected: WEIGHTS,
    found: "adapter_model.bin",
    where,
    hint: "Convert it to safetensors: load it with PEFT and save it again with save_pretrained.",
  });
}

/**
 * Opens an adapter for a base model with these linear layers. Only headers are read.
 * @param linears all linear layers that adapters can target, in model order
 * @throws TureenError what `openAdapterFiles` throws; `ADAPTER_MISMATCH` if tensors, config and base disagree. Nothing stays
 *   open.
 */
export async function openAdapter(
  source: FileSet,
  linears: readonly LinearInfo[],
  options?: OpenAdapterOptions,
): Promise<Adapter> {
  const { files, config, configFile, checkpoint } = await openAdapterFiles(source, options);
  try {
    const { lora: tensors, saved } = groupTensors(checkpoint, config.modulesToSave);
    const where = files.name;
    const found = new Map([
      ...(await checkAgainstBase({ config, configFile, tensors, linears, where })),
      ...checkSavedModules(saved, linears, where),
    ]);
    const modules = inModelOrder(found, linears);
    return {
      source: files.name,
      files,
      config,
      modules,
      readModule: async (path, reading) => {
        const whole = saved.get(path);
        if (whole === undefined) return readModule(checkpoint, tensors.get(path), path, reading);
        const weight = await readFactor(checkpoint, whole, reading);
        const base = await (options?.readBase ?? noBase)(path);
        return differenceFactors(weight, base, modules.get(path)!.cols);
      },
      readCatLogits: (options) => readCatLogits(checkpoint, tensors, options),
      close: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

function inModelOrder(
  modules: ReadonlyMap<string, AdapterModule>,
  linears: readonly LinearInfo[],
): Map<string, AdapterModule> {
  const known = linears.flatMap(({ path }) => modules.get(path) ?? []);
  return new Map(known.map((module) => [module.path, module]));
}

async function noBase(path: string): Promise<Float32Array> {
  throw new TureenError("ADAPTER_UNSUPPORTED", "a saved module is read beside its base weight", {
    found: `modules_to_save: ${path}`,
    hint: "Load the adapter into its base model.",
  });
}

async function readModule(
  checkpoint: Checkpoint,
  tensors: LoraTensors | undefined,
  path: string,
  options?: ReadOptions,
): Promise<AdapterWeights> {
  if (tensors === undefined) {
    const where = checkpoint.name;
    throw new TureenError("ADAPTER_MISMATCH", `the adapter does not change ${path}`, { where });
  }
  const read = (tensor: TensorInfo): Promise<Float32Array> =>
    readFactor(checkpoint, tensor, options);
  const [a, b, bias] = await Promise.all([
    read(tensors.a),
    read(tensors.b),
    tensors.bias === undefined ? undefined : read(tensors.bias),
  ]);
  return { a, b, bias };
}

async function readCatLogits(
  checkpoint: Checkpoint,
  tensors: ReadonlyMap<string, LoraTensors>,
  options?: ReadOptions,
): Promise<ReadonlyMap<string, number>> {
  const logits = new Map<string, number>();
  for (const [path, { logit }] of tensors) {
    if (logit === undefined) continue;
    if (logit.nBytes > 8 || logit.shape.reduce((a, b) => a * b, 1) !== 1) {
      throw new TureenError("ADAPTER_MISMATCH", "a learned weight has an unexpected shape", {
        expected: "[1]",
        found: `[${logit.shape.slice(0, 4).join(", ")}]`,
        where: `${logit.name} in ${logit.file}`,
      });
    }
    logits.set(path, (await readFactor(checkpoint, logit, options))[0]!);
  }
  return logits;
}

async function readFactor(
  checkpoint: Checkpoint,
  { name, dtype, nBytes, file }: TensorInfo,
  options?: ReadOptions,
): Promise<Float32Array> {
  const bytes = await checkpoint.read(name, 0, nBytes, options);
  const values = new Float32Array(toFloat32(bytes, dtype));
  const at = findNotFinite(values);
  if (at < 0) return values;
  throw new TureenError("WEIGHTS_NOT_FINITE", "an adapter's weights are not all finite", {
    found: `${values[at]} at element ${at}`,
    where: `${name} in ${file}`,
    hint: "Its training has diverged, or the file is damaged.",
  });
}
