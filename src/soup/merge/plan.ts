// A merge of whole adapters, laid out before any weight is read: which linear layers it changes, what of which adapter goes into
// each, and the rank that comes out. Owns the walk over layers; the arithmetic of one layer is `methods/`.
import type { Adapter } from "../../adapters/adapter.ts";
import { TureenError } from "../../errors.ts";
import type { LinearInfo } from "../../model/config.ts";
import type { ReadOptions } from "../../sources/source.ts";
import type { AdapterFactors, MergedModule, MergeMethod, MergeOptions } from "../methods/method.ts";
import { checkMergeOptions, findMergeMethod, mergeModule } from "../methods/methods.ts";
import { peftRank, peftResultScaling } from "../methods/peft.ts";

/** What an adapter brings to one linear layer. */
export interface SourceParameters {
  /** 0 leaves the adapter out of the layer. */
  readonly weight: number;
  /** mergekit's per-model parameters; default: the options of the same names. */
  readonly density?: number | undefined;
  readonly gamma?: number | undefined;
  readonly epsilon?: number | undefined;
}

/** One adapter of a merge. */
export interface MergeSource {
  readonly name: string;
  readonly adapter: Adapter;
  readonly parameters: (linear: LinearInfo) => SourceParameters;
}

export interface MergeRequest {
  /** A name of `MERGE_METHODS`. */
  readonly method: string;
  /** In the order of the merge, which random masks and PEFT's rules depend on. */
  readonly sources: readonly MergeSource[];
  /** All linear layers of the base, in model order. */
  readonly linears: Iterable<LinearInfo>;
  /** The method's, for each layer or for all. */
  readonly options: MergeOptions | ((linear: LinearInfo) => MergeOptions);
}

/** One adapter's part of one layer, before it is read. */
export interface PlannedInput extends SourceParameters {
  readonly source: MergeSource;
  /** The adapter's place in the merge. */
  readonly index: number;
  readonly rank: number;
  readonly scaling: number;
  readonly hasBias: boolean;
}

/** One linear layer that a merge changes. */
export interface PlannedModule {
  readonly linear: LinearInfo;
  readonly inputs: readonly PlannedInput[];
  readonly options: MergeOptions;
  /** Of the result; `undefined` if it is dense. */
  readonly rank: number | undefined;
}

export interface MergePlan {
  readonly method: MergeMethod;
  /** In model order; those where some adapter has weight. */
  readonly modules: readonly PlannedModule[];
  /** Adapters that have weight somewhere. */
  readonly adapters: number;
  /** What the first adapter says of its base. */
  readonly baseModel: string | undefined;
  /** Whether the result has biases: only `cat` merges them. */
  readonly hasBias: boolean;
  /** `MergeInput.peftScaling` */
  readonly peftScaling: number;
}

/** A merged layer and what it adds to the layer's bias. */
export interface MergedLinear {
  readonly merged: MergedModule;
  readonly bias: Float32Array | undefined;
}

/**
 * Lays out a merge and checks all that can be checked without reading weights.
 * @throws TureenError `OPTION_INVALID`, `SOUP_INVALID` if no adapter has weight, `ADAPTER_MISMATCH` (ranks)
 */
export function planMerge({ method: name, sources, linears, options }: MergeRequest): MergePlan {
  const method = findMergeMethod(name);
  const modules: PlannedModule[] = [];
  const active = new Set<number>();
  for (const linear of linears) {
    const own = typeof options === "function" ? options(linear) : options;
    checkMergeOptions(method, own);
    const inputs = listInputs(sources, linear);
    if (!inputs.some(({ weight }) => weight !== 0)) continue;
    for (const { index, weight } of inputs) {
      if (weight !== 0 || own.compat !== undefined) active.add(index);
    }
    modules.push({ linear, inputs, options: own, rank: undefined });
  }
  if (modules.length === 0) {
    if (typeof options !== "function") checkMergeOptions(method, options);
    throw new TureenError("SOUP_INVALID", "there is nothing to merge", {
      expected: "an adapter whose weight is not 0",
      found: sources.length === 0 ? "no adapters" : "all weights are 0",
    });
  }
  const ranks = [...active].sort((a, b) => a - b).map((i) => largestRank(sources[i]!.adapter));
  const { svdRank } = modules[0]!.options;
  const usesRslora = sources[Math.min(...active)]!.adapter.config.useRslora;
  return {
    method,
    modules: modules.map((module) => ({
      ...module,
      rank: predictRank(method, module, active.size),
    })),
    adapters: active.size,
    baseModel: sources[0]!.adapter.config.baseModel,
    hasBias:
      method.name === "cat" &&
      modules.some(({ inputs }) => inputs.some(({ weight, hasBias }) => weight !== 0 && hasBias)),
    peftScaling: peftResultScaling(usesRslora, peftRank(method.name, ranks, svdRank)),
  };
}

/**
 * Reads one layer of all adapters and merges it.
 * @throws TureenError see `mergeModule`; `ADAPTER_UNSUPPORTED` for biases, other than by `cat`
 */
export async function mergePlanned(
  plan: MergePlan,
  { linear, inputs, options }: PlannedModule,
  reading: ReadOptions = {},
): Promise<MergedLinear> {
  const { path, rows, cols } = linear;
  const factors: AdapterFactors[] = [];
  let bias: Float32Array | undefined;
  for (const input of inputs) {
    const { source, index, rank, scaling, weight, density, gamma, epsilon } = input;
    if (weight === 0 && options.compat === undefined) continue; // need not even be read
    const data = await source.adapter.readModule(path, reading);
    if (data.bias !== undefined) {
      checkBias(plan.method, data.bias, `${source.name}, ${path}`);
      bias = addScaled(bias, data.bias, weight * scaling);
    }
    factors.push({
      ...{ name: source.name, a: data.a, b: data.b, rank, scaling, weight, index },
      ...(density === undefined ? {} : { density }),
      ...(gamma === undefined ? {} : { gamma }),
      ...(epsilon === undefined ? {} : { epsilon }),
    });
  }
  const { method, peftScaling } = plan;
  const left = inputs.length - factors.length;
  const adapters = Math.max(plan.adapters - left, factors.length);
  const merged = mergeModule(method, { path, rows, cols, factors, adapters, peftScaling }, options);
  return { merged, bias: method.name === "cat" ? bias : undefined };
}

/** Everything that decides the result, for telling two merges apart. Not what the adapters hold. */
export function describePlan({ method, modules }: MergePlan): unknown {
  return {
    method: method.name,
    modules: modules.map(({ linear, inputs, options }) => [
      linear.path,
      options,
      inputs.map(({ source, index, weight, density, gamma, epsilon }) => [
        source.name,
        index,
        { weight, density, gamma, epsilon },
      ]),
    ]),
  };
}

function listInputs(sources: readonly MergeSource[], linear: LinearInfo): PlannedInput[] {
  return sources.flatMap((source, index): PlannedInput[] => {
    const module = source.adapter.modules.get(linear.path);
    if (module === undefined) return [];
    const { rank, scaling, hasBias } = module;
    return [{ ...source.parameters(linear), source, index, rank, scaling, hasBias }];
  });
}

/**
 * The rank that a method's result has, at most: files say it ahead of the data. `mergeModule` may find less, where factors
 * depend on each other.
 */
function predictRank(
  { name, convention, result }: MergeMethod,
  { linear, inputs, options }: PlannedModule,
  adapters: number,
): number | undefined {
  const { svdRank, svdClamp, compat } = options;
  const taking = compat === undefined ? inputs.filter(({ weight }) => weight !== 0) : inputs;
  const ranks = taking.map(({ rank }) => rank);
  const sum = ranks.reduce((total, rank) => total + rank, 0);
  const most = Math.min(linear.rows, linear.cols);
  if (convention === "mergekit") {
    if (svdRank !== undefined) return Math.min(svdRank, most);
    return result === "dense" ? undefined : sum;
  }
  if (name === "cat") return sum;
  if (!name.endsWith("svd")) return ranks[0];
  const isSingle = adapters - (inputs.length - taking.length) <= 1 && taking.length === 1;
  const isWhole = (svdRank ?? ranks[0]!) >= ranks[0]! && svdClamp === undefined;
  if (isSingle && (isWhole || compat !== undefined)) return ranks[0];
  return Math.min(svdRank ?? Math.max(...ranks), most);
}

function largestRank({ config: { r, rankPattern } }: Adapter): number {
  return Math.max(r, ...rankPattern.values());
}

function checkBias({ name }: MergeMethod, bias: Float32Array, where: string): void {
  if (name === "cat" || bias.every((value) => value === 0)) return;
  throw new TureenError("ADAPTER_UNSUPPORTED", `merge method "${name}" cannot merge biases`, {
    found: "lora_bias",
    where,
    hint: "Use cat, which can.",
  });
}

function addScaled(
  sum: Float32Array | undefined,
  values: Float32Array,
  scale: number,
): Float32Array {
  if (sum === undefined) return values.map((value) => scale * value);
  return sum.map((value, i) => value + scale * values[i]!);
}
