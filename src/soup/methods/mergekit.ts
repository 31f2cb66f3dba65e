// mergekit's generalized task arithmetic (arcee-ai/mergekit, mergekit/merge_methods/generalized_task_arithmetic.py,
// mergekit/sparsify.py, defaults in registry.py), which all its methods here but `sce` are. Its full models are base + adapter,
// so its task vectors are the adapters' deltas s_i B_i A_i, without the rounding that base + delta - base costs there.
//
//   d_i   = w_i · sparsify(s_i B_i A_i)
//   with an election: s = sign(Σ d_i), + for 0;  d = Σ {d_i : sign d_i = s},  divisor = Σ {w_i : sign d_i = s}
//   without:          d = Σ d_i,                                              divisor = Σ w_i
//   ΔW    = lambda · d / (normalize ? divisor : 1)
//
// The election is on values after weights, and the divisor adds weights: not PEFT's.
import { combineRows, forEachBlock, mapRows, type RowMatrix } from "../../math/row-matrix.ts";
import type { ApplyMask, TensorKey } from "./elementwise.ts";
import { deltaRows, truncateRows } from "./factors.ts";
import { type MaskSource, seededMasks } from "./masks.ts";
import type {
  AdapterFactors,
  MergedModule,
  MergeMethod,
  MergeOption,
  MergeOptions,
} from "./method.ts";

/** How a method prunes one task vector: what is zeroed. `undefined` keeps all. */
export type Sparsifier = (
  delta: RowMatrix,
  parameters: { readonly density: number; readonly gamma: number; readonly epsilon: number },
  random: { readonly key: TensorKey; readonly masks: MaskSource; readonly where: string },
) => ApplyMask | undefined;

/** A method, as rows of mergekit's registry. */
export interface MergekitConvention {
  readonly name: string;
  readonly summary: string;
  readonly sparsify: Sparsifier;
  /** Options of the sparsifier. */
  readonly options: readonly MergeOption[];
  /** `consensus_method`: sum, or none. */
  readonly electsSigns: boolean;
  readonly normalize: boolean;
  readonly rescale: boolean;
}

export function createMergekitMethod(convention: MergekitConvention): MergeMethod {
  const { name, summary, sparsify, electsSigns } = convention;
  return {
    name: `mergekit:${name}`,
    convention: "mergekit",
    summary,
    result: "dense",
    options: [...convention.options, "normalize", "rescale", "lambda", "svdRank"],
    required: [],
    needsEqualRanks: false,
    ignoresWeights: false,
    merge(input, options) {
      const masks = options.masks ?? seededMasks(options.seed ?? 0);
      const rescale = options.rescale ?? convention.rescale;
      const deltas = input.factors.map((factor, i) => {
        const delta = deltaRows(input, factor);
        const key: TensorKey = { adapter: factor.index ?? i, path: input.path, tensor: "delta" };
        const where = `${factor.name}, ${input.path}`;
        const apply = sparsify(delta, readParameters(factor, options), { key, masks, where });
        if (apply === undefined) return delta;
        return pruneRows(delta, apply, rescale);
      });
      const merged = combineDeltas(deltas, {
        weights: input.factors.map(({ weight }) => weight),
        electsSigns,
        normalize: options.normalize ?? convention.normalize,
        lambda: options.lambda ?? 1,
      });
      return toResult(merged, options.svdRank, input.path);
    },
  };
}

/** The dense delta, or its truncation. */
export function toResult(
  delta: RowMatrix,
  svdRank: number | undefined,
  path: string,
): MergedModule {
  return svdRank === undefined ? { kind: "dense", delta } : truncateRows(delta, svdRank, { path });
}

function readParameters(
  factor: AdapterFactors,
  options: MergeOptions,
): { density: number; gamma: number; epsilon: number } {
  return {
    density: factor.density ?? options.density ?? 1,
    gamma: factor.gamma ?? options.gamma ?? 0.01,
    epsilon: factor.epsilon ?? options.epsilon ?? 0.15,
  };
}

/** Norms below this are left alone. */
const SMALLEST_NORM = 1e-7;

/** `rescaled_masked_tensor` with the L1 norm. The norms are of the whole tensor, so it is read once more, ahead. */
function pruneRows(delta: RowMatrix, apply: ApplyMask, rescale: boolean): RowMatrix {
  const pruned = mapRows(delta, apply);
  if (!rescale) return pruned;
  let before = 0;
  let after = 0;
  forEachBlock(delta, (block, start) => {
    for (const value of block) before += Math.abs(value);
    apply(block, start);
    for (const value of block) after += Math.abs(value);
  });
  if (before < SMALLEST_NORM || after < SMALLEST_NORM) return pruned;
  const scale = before / after;
  return mapRows(pruned, (block) => {
    for (let i = 0; i < block.length; i++) block[i] = scale * block[i]!;
  });
}

/**
 * Divisors below this count as 0, which divides by 1. mergekit has it where no signs are elected; where they are it compares
 * with 0, which weights like 0.1 + 0.2 - 0.3 miss.
 */
const SMALLEST_DIVISOR = 1e-8;

/** `GTATask.execute` after sparsification. */
function combineDeltas(
  deltas: readonly RowMatrix[],
  options: {
    readonly weights: readonly number[];
    readonly electsSigns: boolean;
    readonly normalize: boolean;
    readonly lambda: number;
  },
): RowMatrix {
  const { weights, electsSigns, normalize, lambda } = options;
  return combineRows(deltas, (parts, block) => {
    for (let j = 0; j < block.length; j++) {
      let ballot = 0;
      for (let i = 0; i < parts.length; i++) ballot += weights[i]! * parts[i]![j]!;
      const sign = ballot >= 0 ? 1 : -1;
      let sum = 0;
      let divisor = 0;
      for (let i = 0; i < parts.length; i++) {
        const weighted = weights[i]! * parts[i]![j]!;
        if (electsSigns && Math.sign(weighted) !== sign) continue;
        sum += weighted;
        divisor += weights[i]!;
      }
      if (normalize && Math.abs(divisor) >= SMALLEST_DIVISOR) sum /= divisor;
      block[j] = lambda * sum;
    }
  });
}
