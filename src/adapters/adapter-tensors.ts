// From tensor names of an adapter file to modules: names are normalised, pairs are joined, and everything that is not a plain
// LoRA factor is refused by name. Knows no base model.
import { TureenError } from "../errors.ts";
import type { Checkpoint, TensorInfo } from "../formats/checkpoint.ts";
import { isFloatDType } from "../formats/float.ts";
import { savedModulePath } from "./saved-modules.ts";

/** The tensors of one module. */
export interface LoraTensors {
  /** [rank, cols] */
  readonly a: TensorInfo;
  /** [rows, rank] */
  readonly b: TensorInfo;
  /** [rows] */
  readonly bias: TensorInfo | undefined;
  /** [1], in adapters saved by LoRA Soups' released code: the logit of the adapter's weight in this module. */
  readonly logit: TensorInfo | undefined;
}

type Part = keyof LoraTensors;

const LORA = /\.lora_/;
const PREFIX = "base_model.model.";
const PARTS: ReadonlyMap<string, Part> = new Map([
  ["lora_A weight", "a"],
  ["lora_B weight", "b"],
  ["lora_B bias", "bias"],
]);

/** Parts of tensor names that tell of something other than LoRA factors. */
const OTHERS: readonly (readonly [pattern: RegExp, title: string])[] = [
  [/\.lora_magnitude_vector(\.|$)/, "DoRA"],
  [/\.lora_embedding_[AB](\.|$)/, "LoRA on an embedding"],
  [/\.lora_diag(\.|$)/, "KaSA"],
  [/\.(lora_E|ranknum)(\.|$)/, "AdaLoRA"],
  [/\.(trainable_tokens_|token_adapter)/, "a trained token embedding"],
];

/** LoRA Soups (arXiv 2410.13025), github.com/aksh555/LoRA-Soups: a ParameterDict beside lora_A and lora_B. */
const LOGIT = /^(.+)\.lora_learnable_weights(?:\.[^.]+)?$/;

/** Training state that inference does not read. */
const IGNORED = /\.lora_monteclora_sampler\./;

/** What an adapter file holds, by module path. */
export interface AdapterTensors {
  readonly lora: ReadonlyMap<string, LoraTensors>;
  /** Weights of whole modules (`modules_to_save`). */
  readonly saved: ReadonlyMap<string, TensorInfo>;
}

/**
 * Groups an adapter file's tensors by module path (without `base_model.model.`), in the file's order. Names may carry the
 * adapter's name: `….lora_A.default.weight`.
 * @throws TureenError `ADAPTER_UNSUPPORTED` for tensors of other methods and for whole modules that the config does not list; `ADAPTER_MISMATCH` for
 *   duplicates, a factor without its partner, or no tensors; `FORMAT_UNSUPPORTED` for types other than floats
 */
export function groupTensors(
  checkpoint: Checkpoint,
  modulesToSave: readonly string[],
): AdapterTensors {
  const saved = new Map<string, TensorInfo>();
  const modules = new Map<string, Partial<Record<Part, TensorInfo>>>();
  for (const tensor of checkpoint.tensors.values()) {
    if (IGNORED.test(tensor.name)) continue;
    const whole = savedModulePath(withoutPrefix(tensor.name), modulesToSave);
    if (whole !== undefined && !LORA.test(tensor.name)) {
      checkType(tensor);
      addSaved(saved, whole, tensor, checkpoint);
      continue;
    }
    const { path, part } = parseName(tensor);
    checkType(tensor);
    const parts = modules.get(path) ?? {};
    modules.set(path, parts);
    const other = parts[part];
    if (other !== undefined) {
      throw new TureenError("ADAPTER_MISMATCH", "two tensors are the same factor", {
        found: `${other.name} and ${tensor.name}`,
        where: checkpoint.name,
      });
    }
    parts[part] = tensor;
  }
  if (modules.size + saved.size === 0) {
    throw new TureenError("ADAPTER_MISMATCH", "the adapter has no tensors", {
      where: checkpoint.name,
    });
  }
  const pairs = new Map<string, LoraTensors>();
  for (const [path, { a, b, bias, logit }] of modules) {
    if (a === undefined || b === undefined) throw unpaired(path, a === undefined, checkpoint);
    pairs.set(path, { a, b, bias, logit });
  }
  const twice = [...saved.keys()].find((path) => pairs.has(path));
  if (twice !== undefined) {
    throw new TureenError("ADAPTER_MISMATCH", "a module is both saved whole and adapted by LoRA", {
      found: twice,
      where: checkpoint.name,
    });
  }
  return { lora: pairs, saved };
}

function addSaved(
  saved: Map<string, TensorInfo>,
  path: string,
  tensor: TensorInfo,
  checkpoint: Checkpoint,
): void {
  const other = saved.get(path);
  if (other !== undefined) {
    throw new TureenError("ADAPTER_MISMATCH", "two tensors are parts of one saved module", {
      expected: "its weight alone",
      found: `${other.name} and ${tensor.name}`,
      where: checkpoint.name,
    });
  }
  saved.set(path, tensor);
}

function parseName({ name, file }: TensorInfo): { path: string; part: Part } {
  const match = /^(.+)\.(lora_[AB])(?:\.[^.]+)?\.(weight|bias)$/.exec(name);
  const part = match === null ? undefined : PARTS.get(`${match[2]} ${match[3]}`);
  if (match !== null && part !== undefined) return { path: withoutPrefix(match[1]!), part };
  const logit = LOGIT.exec(name);
  if (logit !== null) return { path: withoutPrefix(logit[1]!), part: "logit" };
  const title = OTHERS.find(([pattern]) => pattern.test(name))?.[1];
  throw new TureenError(
    "ADAPTER_UNSUPPORTED",
    title === undefined
      ? "tensors other than LoRA factors are not supported"
      : `${title} is not supported`,
    {
      expected: "lora_A and lora_B weights",
      found: name,
      where: file,
      hint:
        title === undefined
          ? "The adapter replaces a whole weight: merge it into its base model with PEFT."
          : "Only plain LoRA adapters on linear layers load.",
    },
  );
}

function withoutPrefix(path: string): string {
  return path.startsWith(PREFIX) ? path.slice(PREFIX.length) : path;
}

function checkType({ name, dtype, file }: TensorInfo): void {
  if (isFloatDType(dtype)) return;
  throw new TureenError("FORMAT_UNSUPPORTED", "adapter weights of this type cannot be read", {
    expected: "F32, F16 or BF16",
    found: dtype,
    where: `${name} in ${file}`,
  });
}

function unpaired(path: string, aIsMissing: boolean, checkpoint: Checkpoint): TureenError {
  const [missing, present] = aIsMissing ? ["lora_A", "lora_B"] : ["lora_B", "lora_A"];
  return new TureenError("ADAPTER_MISMATCH", `a module has ${present} without ${missing}`, {
    found: path,
    where: checkpoint.name,
    hint: "The file is incomplete.",
  });
}
