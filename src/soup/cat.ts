// Writes a soup as one PEFT LoRA adapter, exactly: along the rank, A holds every adapter's rows times m = soup weight ×
// scaling, B holds their columns, and the scaling is 1. Reads the adapters' files again, one linear layer at a time.
import { TureenError } from "../errors.ts";
import { fromFloat32 } from "../formats/float.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors-writer.ts";
import type { LinearInfo } from "../model/config.ts";
import { type FileSink, once } from "../sources/sink.ts";
import type { LoadedAdapters } from "./loaded-adapters.ts";
import type { Contribution, Soup } from "./soup.ts";

/** One linear layer of the adapter to be. */
interface CatModule {
  readonly linear: LinearInfo;
  readonly contributions: readonly Contribution[];
  /** Σ ranks of the contributions. */
  readonly rank: number;
}

/**
 * Writes `adapter_config.json` and `adapter_model.safetensors` (f32). Adapters of weight 0 take no rank.
 *
 *     A = [m_1 A_1; m_2 A_2; …]   B = [B_1 B_2 …]   B A = Σ m_i B_i A_i, up to the rounding of m_i A_i to f32
 *
 * Where linear layers end with different ranks, `rank_pattern` and `alpha_pattern` say so; `target_modules` lists full
 * paths unless all layers have the same kinds.
 * @throws TureenError `SOUP_INVALID` if all weights are 0, `SOURCE_WRITE_FAILED`
 */
export async function writeCatAdapter(
  soup: Soup,
  adapters: LoadedAdapters,
  sink: FileSink,
): Promise<void> {
  const modules = listModules(soup, adapters);
  if (modules.length === 0) {
    throw new TureenError("SOUP_INVALID", "a soup without weights makes no adapter");
  }
  const hasBias = modules.some(({ contributions }) => contributions.some(carriesBias));
  const config = `${JSON.stringify(createConfig(modules, adapters, hasBias), null, 2)}\n`;
  const tensors = modules.flatMap((module) => listTensors(module, hasBias));
  await sink.write("adapter_model.safetensors", writeSafetensors(tensors, { format: "pt" }));
  await sink.write("adapter_config.json", once(new TextEncoder().encode(config)));
}

function listModules(soup: Soup, adapters: LoadedAdapters): CatModule[] {
  const modules: CatModule[] = [];
  for (const linear of adapters.linears.values()) {
    const contributions = soup.contributions(linear.path);
    const rank = contributions.reduce((sum, { module }) => sum + module.segment.rank, 0);
    if (rank > 0) modules.push({ linear, contributions, rank });
  }
  return modules;
}

function carriesBias({ loaded, module }: Contribution): boolean {
  return loaded.adapter.modules.get(module.linear.path)?.hasBias ?? false;
}

function listTensors(module: CatModule, hasBias: boolean): TensorToWrite[] {
  const { linear, rank } = module;
  const prefix = `base_model.model.${linear.path}`;
  // Read for A, kept until the last of the module's tensors has been written.
  let reading: Promise<CatData> | undefined;
  const read = (): Promise<CatData> => {
    reading ??= readModule(module);
    return reading;
  };
  const last = hasBias ? "bias" : "b";
  const take = (which: keyof CatData) => async (): Promise<Uint8Array> => {
    const data = (await read())[which];
    if (which === last) reading = undefined;
    return fromFloat32(data, "F32");
  };
  const tensors: TensorToWrite[] = [
    { name: `${prefix}.lora_A.weight`, dtype: "F32", shape: [rank, linear.cols], data: take("a") },
    { name: `${prefix}.lora_B.weight`, dtype: "F32", shape: [linear.rows, rank], data: take("b") },
  ];
  if (hasBias) {
    const name = `${prefix}.lora_B.bias`;
    tensors.push({ name, dtype: "F32", shape: [linear.rows], data: take("bias") });
  }
  return tensors;
}

interface CatData {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly bias: Float32Array;
}

async function readModule({ linear, contributions, rank }: CatModule): Promise<CatData> {
  const { rows, cols, path } = linear;
  const a = new Float32Array(rank * cols); // [rank, cols]
  const b = new Float32Array(rows * rank); // [rows, rank]
  const bias = new Float32Array(rows);
  let start = 0;
  for (const { loaded, module, m } of contributions) {
    const data = await loaded.adapter.readModule(path);
    const r = module.segment.rank;
    for (let i = 0; i < r * cols; i++) a[start * cols + i] = m * data.a[i]!;
    for (let row = 0; row < rows; row++) {
      b.set(data.b.subarray(row * r, (row + 1) * r), row * rank + start);
    }
    if (data.bias !== undefined) {
      for (let row = 0; row < rows; row++) bias[row] = bias[row]! + m * data.bias[row]!;
    }
    start += r;
  }
  return { a, b, bias };
}

function createConfig(
  modules: readonly CatModule[],
  adapters: LoadedAdapters,
  hasBias: boolean,
): Record<string, unknown> {
  const r = mostCommon(modules.map(({ rank }) => rank));
  const ranks = modules
    .filter(({ rank }) => rank !== r)
    .map(({ linear, rank }) => [patternKey(linear), rank] as const);
  const base = modules[0]!.contributions[0]!.loaded.adapter.config.baseModel ?? null;
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    inference_mode: true,
    r,
    lora_alpha: r,
    lora_dropout: 0,
    bias: "none",
    fan_in_fan_out: false,
    use_rslora: false,
    use_dora: false,
    ...(hasBias ? { lora_bias: true } : {}),
    init_lora_weights: true,
    modules_to_save: null,
    target_modules: targetModules(modules, adapters),
    rank_pattern: Object.fromEntries(ranks),
    alpha_pattern: Object.fromEntries(ranks),
  };
}

/** Short names where they mean exactly these modules, else full paths. PEFT matches a list by whole path or its ending. */
function targetModules(modules: readonly CatModule[], adapters: LoadedAdapters): string[] {
  const names = new Set(modules.map(({ linear }) => linear.name));
  const meant = [...adapters.linears.values()].filter(({ name }) => names.has(name));
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
