// Writes factors of linear layers as one PEFT LoRA adapter whose scaling is 1: `adapter_config.json` and
// `adapter_model.safetensors`. Streams: factors of one linear layer are in memory at a time. Where they come from is the
// caller's.
import { TureenError } from "../errors.ts";
import { fromFloat32 } from "../formats/float.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors-writer.ts";
import type { LinearInfo } from "../model/config.ts";
import { type FileSink, once } from "../sources/sink.ts";

/** Types that weights can be written in. */
export type WrittenDType = "F32" | "F16" | "BF16";

/** One linear layer's factors: ΔW = B A. */
export interface FactorsToWrite {
  /** [rank, cols] */
  readonly a: Float32Array;
  /** [rows, rank] */
  readonly b: Float32Array;
  /** [rows]; nothing is 0 */
  readonly bias: Float32Array | undefined;
}

/** One linear layer of the adapter to be. */
export interface ModuleToWrite {
  readonly linear: LinearInfo;
  readonly rank: number;
  /** Called once. */
  readonly read: () => Promise<FactorsToWrite>;
}

export interface PeftWriteOptions {
  /** All linear layers of the base, in model order. */
  readonly linears: Iterable<LinearInfo>;
  /** For `base_model_name_or_path`. */
  readonly baseModel: string | undefined;
  /** Whether every module gets a `lora_B.bias`. */
  readonly hasBias: boolean;
  /** Default F32, which loses nothing. */
  readonly dtype?: WrittenDType | undefined;
}

/**
 * Where linear layers have different ranks, `rank_pattern` and `alpha_pattern` say so; `target_modules` lists full paths
 * unless all layers have the same kinds.
 * @param modules at least one, in model order
 * @throws TureenError `SOURCE_WRITE_FAILED`, `SOUP_INVALID` (numbers that leave the type)
 */
export async function writePeftAdapter(
  modules: readonly ModuleToWrite[],
  options: PeftWriteOptions,
  sink: FileSink,
): Promise<void> {
  const tensors = modules.flatMap((module) => listTensors(module, options));
  const config = `${JSON.stringify(createConfig(modules, options), null, 2)}\n`;
  await sink.write("adapter_model.safetensors", writeSafetensors(tensors, { format: "pt" }));
  await sink.write("adapter_config.json", once(new TextEncoder().encode(config)));
}

function listTensors(
  { linear, rank, read }: ModuleToWrite,
  { hasBias, dtype = "F32" }: PeftWriteOptions,
): TensorToWrite[] {
  const { rows, cols, path } = linear;
  const prefix = `base_model.model.${path}`;
  // Read for A, kept until the last of the module's tensors has been written.
  let reading: Promise<FactorsToWrite> | undefined;
  const last = hasBias ? "bias" : "b";
  const take = (which: keyof FactorsToWrite, name: string) => async (): Promise<Uint8Array> => {
    reading ??= read();
    const values = (await reading)[which] ?? new Float32Array(rows);
    if (which === last) reading = undefined;
    return encodeFinite(values, dtype, name);
  };
  const tensor = (which: keyof FactorsToWrite, suffix: string, shape: number[]): TensorToWrite => {
    const name = `${prefix}.${suffix}`;
    return { name, dtype, shape, data: take(which, name) };
  };
  const factors = [
    tensor("a", "lora_A.weight", [rank, cols]),
    tensor("b", "lora_B.weight", [rows, rank]),
  ];
  return hasBias ? [...factors, tensor("bias", "lora_B.bias", [rows])] : factors;
}

/** Magnitudes that round to infinity, from here on. */
const OVERFLOW: Readonly<Record<WrittenDType, number>> = {
  F32: Number.POSITIVE_INFINITY,
  F16: 65520,
  BF16: 2 ** 128 - 2 ** 119,
};

/**
 * As bytes of a type.
 * @throws TureenError `SOUP_INVALID` if a number would become infinite; `WEIGHTS_NOT_FINITE` if one is not a number
 */
export function encodeFinite(values: Float32Array, dtype: WrittenDType, where: string): Uint8Array {
  const limit = OVERFLOW[dtype];
  let at = 0;
  while (at < values.length && Math.abs(values[at]!) < limit) at++;
  if (at === values.length) return fromFloat32(values, dtype);
  if (Number.isNaN(values[at])) {
    throw new TureenError("WEIGHTS_NOT_FINITE", "weights are not all finite", {
      found: `NaN at element ${at}`,
      where,
      hint: "Its training has diverged, or the file is damaged.",
    });
  }
  throw new TureenError("SOUP_INVALID", `a merged weight is too large for ${dtype}`, {
    expected: `magnitudes below ${limit}`,
    found: String(values[at]),
    where,
    hint: dtype === "F16" ? "Use smaller weights, or write BF16 or F32." : "Use smaller weights.",
  });
}

function createConfig(
  modules: readonly ModuleToWrite[],
  options: PeftWriteOptions,
): Record<string, unknown> {
  const r = mostCommon(modules.map(({ rank }) => rank));
  const ranks = modules
    .filter(({ rank }) => rank !== r)
    .map(({ linear, rank }) => [patternKey(linear), rank] as const);
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: options.baseModel ?? null,
    inference_mode: true,
    r,
    lora_alpha: r,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    use_rslora: false,
    use_dora: false,
    ...(options.hasBias ? { lora_bias: true } : {}),
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: targetModules(modules, options.linears),
    rank_pattern: Object.fromEntries(ranks),
    alpha_pattern: Object.fromEntries(ranks),
  };
}

/** Short names where they mean exactly these modules, else full paths. PEFT matches a list by whole path or its ending. */
function targetModules(modules: readonly ModuleToWrite[], linears: Iterable<LinearInfo>): string[] {
  const names = new Set(modules.map(({ linear }) => linear.name));
  const meant = [...linears].filter(({ name }) => names.has(name));
  if (meant.length === modules.length) return [...names];
  return modules.map(({ linear }) => linear.path);
}

/**
 * PEFT reads a key of `rank_pattern` as a regular expression for the end of the path: `(.*\.)?(KEY)$`, older versions
 * `.*\.KEY$`. Without the leading `model.` and with escaped dots it means this module alone, to both.
 */
function patternKey({ path }: LinearInfo): string {
  return path.replace(/^model\./, "").replaceAll(".", "\\.");
}

function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((best, entry) => (entry[1] > best[1] ? entry : best))[0];
}
