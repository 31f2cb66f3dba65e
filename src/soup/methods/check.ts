// Checks of what goes into a merge and what comes out: shapes, finite numbers, ranks.
import { TureenError } from "../../errors.ts";
import { findNotFinite } from "../../formats/float.ts";
import { mapRows } from "../../math/row-matrix.ts";
import type { AdapterFactors, MergedModule, MergeInput, MergeMethod } from "./method.ts";
import { checkValue } from "./options.ts";
import { refuseOverflow } from "./overflow.ts";

/** mergekit's per-model parameters. */
const PER_ADAPTER = ["density", "gamma", "epsilon"] as const;

/**
 * @throws TureenError `ADAPTER_MISMATCH` (shapes, ranks that a method cannot add), `WEIGHTS_NOT_FINITE`, `SOUP_INVALID`
 *   (weights), `OPTION_INVALID` (an adapter's own density, gamma or epsilon)
 */
export function checkInput(method: MergeMethod, input: MergeInput): void {
  const { path, rows, cols, factors, adapters } = input;
  if (factors.length === 0) {
    throw new TureenError("SOUP_INVALID", "no adapter has the linear layer", { where: path });
  }
  if (adapters !== undefined && adapters < factors.length) {
    throw new TureenError("SOUP_INVALID", "more adapters have a layer than take part", {
      expected: `at most ${adapters}`,
      found: String(factors.length),
      where: path,
    });
  }
  for (const factor of factors) {
    const where = `${factor.name}, ${path}`;
    checkShape("A", factor.a, [factor.rank, cols], where);
    checkShape("B", factor.b, [rows, factor.rank], where);
    checkNumbers(method, factor, where);
  }
}

/**
 * Of the adapters that have weight.
 * @throws TureenError `ADAPTER_MISMATCH`, `SOUP_INVALID`
 */
export function checkActive(method: MergeMethod, { path, factors }: MergeInput): void {
  if (factors.length === 0) {
    throw new TureenError("SOUP_INVALID", "all weights are 0", {
      where: path,
      hint: "Leave the layer out: its base weight stays as it is.",
    });
  }
  const ranks = new Set(factors.map(({ rank }) => rank));
  if (!method.needsEqualRanks || ranks.size === 1) return;
  const svd = method.convention === "peft" ? `${method.name}_svd` : "svd";
  throw new TureenError(
    "ADAPTER_MISMATCH",
    `merge method "${method.name}" adds factors, and the adapters' ranks differ`,
    {
      expected: "one rank",
      found: factors.map(({ name, rank }) => `${name}: ${rank}`).join(", "),
      where: path,
      hint: `Use ${method.name === "linear" ? "svd" : svd}, or cat, which take any ranks.`,
    },
  );
}

function checkShape(
  which: "A" | "B",
  values: Float32Array,
  [rows, cols]: readonly [number, number],
  where: string,
): void {
  const isShape = [rows, cols].every((size) => Number.isInteger(size) && size >= 1);
  if (isShape && values.length === rows * cols) return;
  throw new TureenError("ADAPTER_MISMATCH", `${which} has the wrong size`, {
    expected: `${rows} × ${cols}`,
    found: `${values.length} elements`,
    where,
  });
}

function checkNumbers(method: MergeMethod, factor: AdapterFactors, where: string): void {
  for (const [which, values] of [
    ["A", factor.a],
    ["B", factor.b],
  ] as const) {
    const at = findNotFinite(values);
    if (at < 0) continue;
    throw new TureenError("WEIGHTS_NOT_FINITE", "an adapter's weights are not all finite", {
      found: `${values[at]} at element ${at} of ${which}`,
      where,
      hint: "Its training has diverged, or the file is damaged.",
    });
  }
  const { weight, scaling } = factor;
  if (!Number.isFinite(weight) || !Number.isFinite(scaling)) {
    throw new TureenError("SOUP_INVALID", "weights and scalings must be finite", {
      found: `weight ${weight}, scaling ${scaling}`,
      where,
    });
  }
  if (method.ignoresWeights && weight !== 0 && weight !== 1) {
    throw new TureenError("SOUP_INVALID", `"${method.name}" finds the weights itself`, {
      expected: "weight 1, or 0 to leave an adapter out",
      found: String(weight),
      where,
    });
  }
  for (const name of PER_ADAPTER) {
    if (factor[name] === undefined) continue;
    checkValue(name, factor[name], where);
    if (method.convention === "mergekit" && method.options.includes(name)) continue;
    throw new TureenError("OPTION_INVALID", `"${method.name}" takes no ${name} per adapter`, {
      where,
    });
  }
}

/**
 * Holds the result to finite numbers; a dense one when it is read.
 * @throws TureenError `SOUP_INVALID`
 */
export function checkResult(merged: MergedModule, path: string): MergedModule {
  if (merged.kind === "low-rank") {
    refuseOverflow(merged.a, path);
    refuseOverflow(merged.b, path);
    return merged;
  }
  return { ...merged, delta: mapRows(merged.delta, (block) => refuseOverflow(block, path)) };
}
