// The way into merging: all methods by name, the checks around them, and the rules that hold for all of them.
import { TureenError } from "../../errors.ts";
import { nearestNames } from "../nearest-names.ts";
import { cat } from "./cat.ts";
import { checkActive, checkInput, checkResult } from "./check.ts";
import { dareLinear } from "./dare-linear.ts";
import { dareTies } from "./dare-ties.ts";
import { linear } from "./linear.ts";
import { lorahub } from "./lorahub.ts";
import { magnitudePrune } from "./magnitude-prune.ts";
import { mergekitBreadcrumbs, mergekitBreadcrumbsTies } from "./mergekit-breadcrumbs.ts";
import { mergekitDareLinear, mergekitDareTies } from "./mergekit-dare.ts";
import { mergekitDella, mergekitDellaLinear } from "./mergekit-della.ts";
import { mergekitSce } from "./mergekit-sce.ts";
import { mergekitTaskArithmetic } from "./mergekit-task-arithmetic.ts";
import { mergekitTies } from "./mergekit-ties.ts";
import type { MergedModule, MergeInput, MergeMethod, MergeOptions } from "./method.ts";
import { checkOptions } from "./options.ts";
import { paperLinear } from "./paper-linear.ts";
import { svd } from "./svd.ts";
import { ties } from "./ties.ts";

/** All merge methods. PEFT's have PEFT's names; others say whose they are. */
export const MERGE_METHODS: readonly MergeMethod[] = [
  cat,
  linear,
  svd,
  ties.onFactors,
  ties.onDeltas,
  dareLinear.onFactors,
  dareLinear.onDeltas,
  dareTies.onFactors,
  dareTies.onDeltas,
  magnitudePrune.onFactors,
  magnitudePrune.onDeltas,
  mergekitTaskArithmetic,
  mergekitTies,
  mergekitDareLinear,
  mergekitDareTies,
  mergekitDella,
  mergekitDellaLinear,
  mergekitBreadcrumbs,
  mergekitBreadcrumbsTies,
  mergekitSce,
  paperLinear,
  lorahub,
];

/** @throws TureenError `OPTION_INVALID`, with the nearest names */
export function findMergeMethod(name: string): MergeMethod {
  const method = MERGE_METHODS.find((method) => method.name === name);
  if (method !== undefined) return method;
  const names = MERGE_METHODS.map((method) => method.name);
  throw new TureenError("OPTION_INVALID", `there is no merge method ${JSON.stringify(name)}`, {
    expected: names.join(", "),
    hint: `Nearest: ${nearestNames(name, names).join(", ")}.`,
  });
}

/**
 * Checks options before any weights are read. `mergeModule` does it too.
 * @throws TureenError `OPTION_INVALID`: unknown, not used by the method, missing, or out of range
 */
export function checkMergeOptions(method: MergeMethod, options: MergeOptions): void {
  checkOptions(method, options, MERGE_METHODS);
}

/**
 * Merges one linear layer.
 *
 * An adapter of weight 0 takes no part, in no sign election and no divisor, so that weights (0, 1, 0) give back the second
 * adapter by every method of PEFT's (which leaves it its vote: `compat`).
 * @throws TureenError `OPTION_INVALID`, `ADAPTER_MISMATCH`, `WEIGHTS_NOT_FINITE`, `SOUP_INVALID`; see `checkInput`
 */
export function mergeModule(
  method: MergeMethod | string,
  input: MergeInput,
  options: MergeOptions = {},
): MergedModule {
  const found = typeof method === "string" ? findMergeMethod(method) : method;
  checkMergeOptions(found, options);
  checkInput(found, input);
  const active = options.compat === undefined ? leaveOutZeros(input) : input;
  checkActive(found, active);
  const merged = found.merge(active, options);
  return checkResult(
    options.compat === undefined ? merged : applyPeftScaling(merged, input.peftScaling ?? 1),
    input.path,
  );
}

function leaveOutZeros(input: MergeInput): MergeInput {
  const factors = input.factors
    .map((factor, i) => ({ ...factor, index: factor.index ?? i }))
    .filter(({ weight }) => weight !== 0);
  const left = input.factors.length - factors.length;
  return { ...input, factors, adapters: (input.adapters ?? input.factors.length) - left };
}

function applyPeftScaling(merged: MergedModule, scaling: number): MergedModule {
  if (merged.kind === "dense" || scaling === 1) return merged;
  return { ...merged, b: merged.b.map((value) => scaling * value) };
}
