// mergekit's parameter values: a scalar, a gradient over the layers, or a list of such with filters on tensor names. Owns their
// checks and their evaluation for one linear layer, as mergekit's `evaluate_setting` and `ConfigReader.parameter` do it.
import { TureenError } from "../../errors.ts";
import type { LinearInfo } from "../../model/config.ts";

export type Scalar = number | boolean | string;

/** A scalar, or numbers that are interpolated linearly over the layers, from the first to the last. */
export type ScalarOrGradient = Scalar | readonly number[];

/** One value, or the first whose filter fits: none, `*`, or a part of the tensor's name. */
export type Setting = ScalarOrGradient | readonly ConditionalSetting[];

export interface ConditionalSetting {
  readonly filter?: string | undefined;
  readonly value: ScalarOrGradient;
}

export type Parameters = ReadonlyMap<string, Setting>;

/**
 * The first table that has a value for the layer.
 * @param tables most specific first
 */
export function evaluateParameter(
  name: string,
  tables: readonly Parameters[],
  linear: LinearInfo,
  layers: number,
): Scalar | undefined {
  for (const table of tables) {
    const setting = table.get(name);
    if (setting === undefined) continue;
    const value = evaluate(setting, `${linear.path}.weight`, placeOf(linear, layers));
    if (value !== undefined) return value;
  }
  return undefined;
}

/** Where in the model a layer is, from 0 to 1. `lm_head` comes last, and so does the only layer of a model with one. */
function placeOf({ path, layer }: LinearInfo, layers: number): number {
  return layers > 1 && path !== "lm_head" ? layer / (layers - 1) : 1;
}

function evaluate(setting: Setting, tensor: string, t: number): Scalar | undefined {
  if (!Array.isArray(setting)) return setting as Scalar;
  const list: readonly (number | ConditionalSetting)[] = setting;
  if (isGradient(list)) return interpolate(list, t);
  for (const { filter, value } of list as readonly ConditionalSetting[]) {
    if (filter !== undefined && filter !== "*" && !tensor.includes(filter)) continue;
    return evaluate(value, tensor, t);
  }
  return undefined;
}

function interpolate(values: readonly number[], t: number): number {
  const scaled = t * (values.length - 1);
  const below = Math.trunc(scaled);
  const above = Math.min(values.length - 1, below + 1);
  const part = scaled - below;
  return (1 - part) * values[below]! + part * values[above]!;
}

function isGradient(list: readonly unknown[]): list is readonly number[] {
  return list.every((item) => typeof item === "number");
}

/**
 * Checks a setting as it was parsed.
 * @throws TureenError `SOUP_INVALID`
 */
export function checkSetting(value: unknown, where: string): Setting {
  if (!Array.isArray(value)) return checkScalar(value, where);
  if (value.length > 0 && value.every(isNumber)) return value;
  const isConditional = value.length > 0 && value.every(isRecord);
  if (!isConditional) throw invalid(value, where);
  return value.map((item: Record<string, unknown>, i): ConditionalSetting => {
    const at = `${where}[${i}]`;
    const unknown = Object.keys(item).find((key) => key !== "filter" && key !== "value");
    if (unknown !== undefined) {
      throw new TureenError("SOUP_INVALID", `the merge recipe has an unknown key "${unknown}"`, {
        expected: "filter and value",
        where: at,
      });
    }
    const { filter, value } = item;
    if (filter !== undefined && filter !== null && typeof filter !== "string") {
      throw invalid(filter, `${at}.filter`, "a part of a tensor's name");
    }
    return { filter: filter ?? undefined, value: checkGradient(value, `${at}.value`) };
  });
}

function checkGradient(value: unknown, where: string): ScalarOrGradient {
  if (Array.isArray(value) && value.length > 0 && value.every(isNumber)) return value;
  return checkScalar(value, where);
}

function checkScalar(value: unknown, where: string): Scalar {
  if (isNumber(value) || typeof value === "boolean" || typeof value === "string") return value;
  throw invalid(value, where);
}

function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(found: unknown, where: string, expected?: string): TureenError {
  return new TureenError("SOUP_INVALID", "a value of the merge recipe is invalid", {
    expected:
      expected ?? "a value, a list of numbers over the layers, or a list of { filter, value }",
    found: JSON.stringify(found)?.slice(0, 60) ?? String(found),
    where,
  });
}
