// The two ways in which PEFT applies an element-wise operator (`add_weighted_adapter` in src/peft/tuners/lora/model.py, 0.21.0),
// for the methods in the files beside this one.
import { type RowMatrix, readRows, storedRows } from "../../math/row-matrix.ts";
import { type TensorKey, weightedSum } from "./elementwise.ts";
import { deltaRows, truncateRows, truncateSum } from "./factors.ts";
import { type MaskSource, seededMasks } from "./masks.ts";
import type {
  LowRankModule,
  MergeInput,
  MergeMethod,
  MergeOption,
  MergeOptions,
} from "./method.ts";

/** One of PEFT's `merge_utils`. `keys` name the tensors, for random masks. */
export type PeftOperator = (
  tensors: readonly RowMatrix[],
  weights: readonly number[],
  context: {
    readonly options: MergeOptions;
    readonly keys: readonly TensorKey[];
    readonly masks: MaskSource;
  },
) => RowMatrix;

/** PEFT's `task_arithmetic`, in the signature of the others. */
export const sumOperator: PeftOperator = (tensors, weights) => weightedSum(tensors, weights);

/** An operator under its two names: alone, on factors; with `_svd`, on full deltas. */
export interface PeftMethods {
  readonly onFactors: MergeMethod;
  readonly onDeltas: MergeMethod;
}

export function createPeftMethods(
  name: string,
  operator: PeftOperator,
  about: {
    readonly summary: string;
    readonly options: readonly MergeOption[];
    readonly required: readonly MergeOption[];
  },
): PeftMethods {
  const shared = { convention: "peft", result: "low-rank", ignoresWeights: false } as const;
  const { summary, options, required } = about;
  return {
    onFactors: {
      ...shared,
      name,
      summary: `${summary}, on A and B apart (with cross terms)`,
      options: [...options, "compat"],
      required,
      needsEqualRanks: true,
      merge: (input, options) => mergeFactors(operator, input, options),
    },
    onDeltas: {
      ...shared,
      name: `${name}_svd`,
      summary: `${summary}, on the products B A, then an SVD`,
      options: [...options, "svdRank", "svdClamp", "compat"],
      required,
      needsEqualRanks: false,
      merge: (input, options) => mergeDeltas(operator, input, options),
    },
  };
}

/**
 * `_generalized_task_arithmetic_weighted_adapter`: with u_i = w_i s_i, A = operator({A_i}, {sign(u_i) √|u_i|}), B =
 * operator({B_i}, {√|u_i|}). The product has cross terms B_i A_j. All adapters must have one rank. A single adapter is only
 * weighted: "if there is only one adapter, we can only use linear merging".
 */
export function mergeFactors(
  operator: PeftOperator,
  input: MergeInput,
  options: MergeOptions,
): LowRankModule {
  const { rows, cols, factors } = input;
  const rank = factors[0]!.rank;
  const products = factors.map(({ weight, scaling }) => weight * scaling);
  const roots = products.map((u) => Math.sqrt(Math.abs(u)));
  const signedRoots = roots.map((root, i) => (products[i]! < 0 ? -root : root));
  const apply = isSingle(input) ? sumOperator : operator;
  const a = apply(
    factors.map((factor) => storedRows(factor.a, rank, cols)),
    signedRoots,
    createContext(input, options, "a"),
  );
  const b = apply(
    factors.map((factor) => storedRows(factor.b, rows, rank)),
    roots,
    createContext(input, options, "b"),
  );
  return { kind: "low-rank", rank, a: readRows(a), b: readRows(b), relativeError: 0 };
}

/**
 * `_svd_generalized_task_arithmetic_weighted_adapter`: an SVD of operator({s_i B_i A_i}, {w_i}). A single adapter is only
 * weighted and truncated, where PEFT does not even truncate (`compat`).
 */
export function mergeDeltas(
  operator: PeftOperator,
  input: MergeInput,
  options: MergeOptions,
): LowRankModule {
  if (isSingle(input)) return mergeSingle(input, options);
  const deltas = input.factors.map((factor) => deltaRows(input, factor));
  const context = createContext(input, options, "delta");
  const merged = operator(deltas, deltaWeights(input, options), context);
  return truncateRows(merged, resultRank(input, options), {
    path: input.path,
    clamp: options.svdClamp,
  });
}

/** What the svd family makes of one adapter: its own factors, unless they are to be cut or clamped. */
export function mergeSingle(input: MergeInput, options: MergeOptions): LowRankModule {
  const { svdRank, svdClamp, compat } = options;
  const { weight, scaling, rank } = input.factors[0]!;
  const isWhole = (svdRank ?? rank) >= rank && svdClamp === undefined;
  if (isWhole || compat !== undefined) return mergeFactors(sumOperator, input, options);
  return truncateSum(input, [weight * scaling], resultRank(input, options), svdClamp);
}

/** Weights of deltas that contain the scaling. PEFT up to 0.20.x multiplied by the scaling again. */
export function deltaWeights({ factors }: MergeInput, { compat }: MergeOptions): number[] {
  return factors.map(({ weight, scaling }) => (compat === "peft-0.20" ? weight * scaling : weight));
}

/** `svd_rank`, or the largest of the ranks in this layer. */
export function resultRank({ factors }: MergeInput, { svdRank }: MergeOptions): number {
  return svdRank ?? factors.reduce((max, { rank }) => Math.max(max, rank), 1);
}

/** Whether the whole merge is of one adapter, not only this layer. */
export function isSingle({ factors, adapters }: MergeInput): boolean {
  return (adapters ?? factors.length) === 1;
}

function createContext(
  { path, factors }: MergeInput,
  options: MergeOptions,
  tensor: TensorKey["tensor"],
): Parameters<PeftOperator>[2] {
  return {
    options,
    keys: factors.map(({ index }, i) => ({ adapter: index ?? i, path, tensor })),
    masks: options.masks ?? seededMasks(options.seed ?? 0),
  };
}

/**
 * The scaling that PEFT up to 0.21.0 leaves on a merged adapter: the weights contain all scalings, and `lora_alpha = r` is
 * meant to make it 1, but `use_rslora` is taken over from the first adapter, and then it is r / √r.
 * @param rank of the merged adapter as PEFT declares it (`peftRank`)
 */
export function peftResultScaling(firstUsesRslora: boolean, rank: number): number {
  return firstUsesRslora ? Math.sqrt(rank) : 1;
}

/** The rank that PEFT declares for a merge, of the adapters' largest ranks (`r` and `rank_pattern`). */
export function peftRank(method: string, ranks: readonly number[], svdRank?: number): number {
  if (ranks.length === 1) return ranks[0]!;
  if (method === "cat") return ranks.reduce((sum, rank) => sum + rank, 0);
  if (method.endsWith("svd")) return svdRank ?? Math.max(...ranks);
  return ranks[0]!;
}
