// What a merge method is: the factors of one linear layer in several adapters go in, one low-rank adapter or one dense delta
// comes out. Types only; `methods.ts` lists the methods and is the way in.
import type { RowMatrix } from "../../math/row-matrix.ts";
import type { MaskSource } from "./masks.ts";

/** One adapter's part of one linear layer: ΔW = weight · scaling · B A. */
export interface AdapterFactors {
  /** For messages. */
  readonly name: string;
  /** [rank, cols] */
  readonly a: Float32Array;
  /** [rows, rank] */
  readonly b: Float32Array;
  readonly rank: number;
  /** The adapter's own: lora_alpha / r, or / √r. */
  readonly scaling: number;
  /** The soup's. May be negative; an adapter of weight 0 takes no part. */
  readonly weight: number;
  /** Which adapter of the merge it is, for random masks. Default: its place in the list. */
  readonly index?: number;
  /** mergekit's per-model parameters; default: the options of the same names. */
  readonly density?: number;
  readonly gamma?: number;
  readonly epsilon?: number;
}

/** One linear layer to merge. */
export interface MergeInput {
  /** Module path: in messages, and in the keys of random masks. */
  readonly path: string;
  readonly rows: number;
  readonly cols: number;
  /** Of the adapters that have this layer, in the order of the merge. */
  readonly factors: readonly AdapterFactors[];
  /** Adapters of the whole merge, also those without this layer. Default: as many as `factors`. */
  readonly adapters?: number;
  /** With `compat`: what PEFT would scale its result by, from `peftResultScaling`. Default 1. */
  readonly peftScaling?: number;
}

/** Parameters of the methods; each method takes some of them (`MergeMethod.options`). */
export interface MergeOptions {
  /** Fraction of elements kept, in (0, 1]. */
  readonly density?: number;
  /** Whose sign wins: of the sum of the values ("total", default), or of the majority ("frequency"). */
  readonly majoritySign?: "total" | "frequency";
  /** Rank of the result. Default for the `svd` family: the largest of the adapters' ranks. */
  readonly svdRank?: number;
  /** Quantile of the factors' elements beyond which they are clamped, in (0.5, 1]. Default: none. */
  readonly svdClamp?: number;
  /** Of random masks, a whole number in 0..2^53-1. Default 0. */
  readonly seed?: number;
  /** Factor of the merged delta. Default 1. */
  readonly lambda?: number;
  /** Divide by the sum of the weights that took part. */
  readonly normalize?: boolean;
  /** Give a pruned delta the L1 norm it had before. */
  readonly rescale?: boolean;
  /** Fraction of the largest elements removed, in [0, 1). Default 0.01. */
  readonly gamma?: number;
  /** Half width of the range of keep probabilities around `density`. Default 0.15. */
  readonly epsilon?: number;
  /** Fraction of positions kept, those of highest variance over the adapters, in (0, 1]. Default 1. */
  readonly selectTopk?: number;
  /**
   * The numbers of PEFT where they are known to be wrong. "peft": PEFT 0.21.0. Adapters of weight 0 still vote in sign
   * elections; the svd family ignores its options when one adapter is merged; the result of an rsLoRA adapter is √r times
   * too large (`peftScaling`; mended after 0.21.0, PEFT pull request 3449). "peft-0.20": besides, as in PEFT up to 0.20.x,
   * the svd family applies each adapter's scaling twice.
   */
  readonly compat?: "peft" | "peft-0.20";
  /** Where random masks come from, instead of `seed`: to repeat a merge whose masks are known. */
  readonly masks?: MaskSource;
}

/** The name of an option that a method may know. */
export type MergeOption = keyof MergeOptions;

/** A merged linear layer, to be added to its base weight. Scaling 1. */
export type MergedModule =
  | {
      readonly kind: "low-rank";
      readonly rank: number;
      /** [rank, cols] */
      readonly a: Float32Array;
      /** [rows, rank] */
      readonly b: Float32Array;
      /** Of truncation to this rank: ‖ΔW - B A‖ / ‖ΔW‖, Frobenius; 0 where nothing was cut off. */
      readonly relativeError: number;
    }
  | {
      readonly kind: "dense";
      /** ΔW [rows, cols], computed as it is read, a block of rows at a time. */
      readonly delta: RowMatrix;
    };

export type LowRankModule = Extract<MergedModule, { kind: "low-rank" }>;

/** A merge method. `merge` gets checked input without adapters of weight 0, and options that it takes. */
export interface MergeMethod {
  readonly name: string;
  /** Whose convention it follows. */
  readonly convention: "tureen" | "peft" | "mergekit" | "paper";
  /** One line, for people. */
  readonly summary: string;
  /** What it gives: "dense" becomes "low-rank" with `svdRank`. */
  readonly result: MergedModule["kind"];
  readonly options: readonly MergeOption[];
  /** Options without a default. */
  readonly required: readonly MergeOption[];
  /** Whether it adds factors, and needs all adapters to have one rank. */
  readonly needsEqualRanks: boolean;
  /** Whether it finds weights itself, so that weights may only be 0 or 1. */
  readonly ignoresWeights: boolean;
  merge(input: MergeInput, options: MergeOptions): MergedModule;
}
