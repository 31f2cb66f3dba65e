// Writes a merge as a PEFT adapter, one linear layer at a time, and keeps account of what truncation cost.
import { TureenError, throwIfAborted } from "../../errors.ts";
import type { LinearInfo } from "../../model/config.ts";
import type { FileSink } from "../../sources/sink.ts";
import type { ReadOptions } from "../../sources/source.ts";
import type { LowRankModule } from "../methods/method.ts";
import { type FactorsToWrite, type WrittenDType, writePeftAdapter } from "../peft-writer.ts";
import { type MergePlan, mergePlanned, type PlannedModule } from "./plan.ts";

/** What a merge came to. */
export interface MergeReport {
  readonly method: string;
  /** Linear layers it changes. */
  readonly modules: number;
  /** The ranks that occur, ascending; none where the result is a full model. */
  readonly ranks: readonly number[];
  /** Of truncation, over all layers: √(Σ ‖ΔW - B A‖² / Σ ‖ΔW‖²). 0 where nothing was cut off. */
  readonly relativeError: number;
  /** The layer that lost most, if one lost anything. */
  readonly worst?: { readonly path: string; readonly relativeError: number } | undefined;
}

export interface WriteMergedAdapterOptions extends ReadOptions {
  /** All linear layers of the base, in model order. */
  readonly linears: Iterable<LinearInfo>;
  /** Default F32, which loses nothing. */
  readonly dtype?: WrittenDType | undefined;
  /** Linear layers written so far, and in total. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Writes `adapter_config.json` and `adapter_model.safetensors`, with scaling 1.
 * @throws TureenError `OPTION_INVALID` if the result is dense, `SOURCE_WRITE_FAILED`, `ABORTED`, and what merging throws
 */
export async function writeMergedAdapter(
  plan: MergePlan,
  options: WriteMergedAdapterOptions,
  sink: FileSink,
): Promise<MergeReport> {
  const errors = new TruncationErrors();
  let done = 0;
  const modules = plan.modules.map((module) => {
    const rank = requireRank(plan, module);
    const read = async (): Promise<FactorsToWrite> => {
      throwIfAborted(options.signal);
      const { merged, bias } = await mergePlanned(plan, module, { signal: options.signal });
      if (merged.kind === "dense") throw denseResult(plan);
      errors.add(module.linear, merged);
      options.onProgress?.(++done, plan.modules.length);
      return { ...padFactors(merged, module.linear, rank), bias };
    };
    return { linear: module.linear, rank, read };
  });
  const { linears, dtype } = options;
  const { baseModel, hasBias } = plan;
  await writePeftAdapter(modules, { linears, baseModel, hasBias, dtype }, sink);
  return {
    method: plan.method.name,
    modules: modules.length,
    ranks: [...new Set(modules.map(({ rank }) => rank))].sort((a, b) => a - b),
    ...errors.summary(),
  };
}

function requireRank(plan: MergePlan, { rank }: PlannedModule): number {
  if (rank === undefined) throw denseResult(plan);
  return rank;
}

function denseResult({ method }: MergePlan): TureenError {
  return new TureenError("OPTION_INVALID", `"${method.name}" gives full weights, not an adapter`, {
    expected: "option svdRank, the rank of an adapter that comes close",
    hint: "Or write a full model.",
  });
}

/** Adds zeros to reach the rank that the file's header promises. */
function padFactors(
  { rank: found, a, b }: LowRankModule,
  { path, rows, cols }: LinearInfo,
  rank: number,
): { a: Float32Array; b: Float32Array } {
  if (found === rank) return { a, b };
  if (found > rank) throw new Error(`merging ${path} gave rank ${found}, not ${rank}`);
  const wideA = new Float32Array(rank * cols);
  wideA.set(a);
  const wideB = new Float32Array(rows * rank);
  for (let row = 0; row < rows; row++) {
    wideB.set(b.subarray(row * found, (row + 1) * found), row * rank);
  }
  return { a: wideA, b: wideB };
}

/** Adds up what truncation cut off, over layers. */
export class TruncationErrors {
  #lost = 0;
  #whole = 0;
  #worst: MergeReport["worst"];

  add({ path, rows, cols }: LinearInfo, { a, b, rank, relativeError }: LowRankModule): void {
    const kept = squaredNorm(a, b, rank, rows, cols);
    // ‖ΔW‖² = ‖B A‖² + ‖ΔW - B A‖², which a truncated SVD splits orthogonally.
    const whole = relativeError < 1 ? kept / (1 - relativeError ** 2) : kept;
    this.#whole += whole;
    this.#lost += relativeError ** 2 * whole;
    if (relativeError > (this.#worst?.relativeError ?? 0)) this.#worst = { path, relativeError };
  }

  summary(): Pick<MergeReport, "relativeError" | "worst"> {
    const relativeError = this.#whole === 0 ? 0 : Math.sqrt(this.#lost / this.#whole);
    return this.#worst === undefined ? { relativeError } : { relativeError, worst: this.#worst };
  }
}

/** ‖B A‖² = Σ_jk (BᵀB)_jk (A Aᵀ)_jk, without forming B A. */
function squaredNorm(
  a: Float32Array,
  b: Float32Array,
  rank: number,
  rows: number,
  cols: number,
): number {
  let sum = 0;
  for (let j = 0; j < rank; j++) {
    for (let k = 0; k <= j; k++) {
      let left = 0;
      let right = 0;
      for (let row = 0; row < rows; row++) left += b[row * rank + j]! * b[row * rank + k]!;
      for (let col = 0; col < cols; col++) right += a[j * cols + col]! * a[k * cols + col]!;
      sum += (j === k ? 1 : 2) * left * right;
    }
  }
  return sum;
}
