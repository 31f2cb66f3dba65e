// From a merge recipe to a merge of loaded adapters: its parameters, evaluated for each linear layer.
import { TureenError } from "../../errors.ts";
import type { LinearInfo } from "../../model/config.ts";
import type { LoadedAdapters } from "../loaded-adapters.ts";
import {
  type MergePlan,
  type MergeSource,
  planMerge,
  type SourceParameters,
} from "../merge/plan.ts";
import type { MergeMethod, MergeOptions } from "../methods/method.ts";
import { findMergeMethod } from "../methods/methods.ts";
import { evaluateParameter, type Parameters } from "./parameters.ts";
import { MERGE_PARAMETERS, type MergeRecipe } from "./parse.ts";

/** mergekit's parameters of a model, besides its weight. */
const PRUNING = ["density", "gamma", "epsilon"] as const;

/**
 * @param adapters has the recipe's models loaded, under their names
 * @param options in addition to the recipe's, and over them
 * @throws TureenError `SOUP_INVALID`, `OPTION_INVALID`, `ADAPTER_MISMATCH`
 */
export function planRecipeMerge(
  recipe: MergeRecipe,
  adapters: LoadedAdapters,
  options: MergeOptions = {},
): MergePlan {
  const method = findMergeMethod(recipe.method);
  const { layers } = adapters;
  const number = (
    name: keyof SourceParameters,
    tables: readonly Parameters[],
    linear: LinearInfo,
  ): number | undefined => {
    const value = evaluateParameter(name, tables, linear, layers);
    if (value === undefined || typeof value === "number") return value;
    throw new TureenError("SOUP_INVALID", `${name} is no number`, {
      found: JSON.stringify(value),
      where: linear.path,
    });
  };
  const isMergekits = method.convention === "mergekit";
  const pruning = PRUNING.filter((name) => isMergekits && method.options.includes(name));
  refuseUnused(recipe, method, ["weight", ...pruning]);
  const sources = recipe.models.map(({ name, parameters }): MergeSource => {
    const tables = [parameters, recipe.parameters];
    return {
      name,
      adapter: adapters.get(name).adapter,
      parameters(linear) {
        const weight = number("weight", tables, linear) ?? (method.ignoresWeights ? 1 : undefined);
        if (weight === undefined) throw weightMissing(name, linear);
        const own = pruning.map((key) => [key, number(key, tables, linear)] as const);
        return { weight, ...Object.fromEntries(own) };
      },
    };
  });
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const optionsOf = (linear: LinearInfo): MergeOptions => {
    const own: Record<string, unknown> = {};
    for (const [name, option] of Object.entries(MERGE_PARAMETERS)) {
      const value = evaluateParameter(name, [recipe.parameters], linear, layers);
      if (value !== undefined) own[option] = value;
    }
    if (!isMergekits) {
      const density = number("density", [recipe.parameters], linear); // PEFT's is one for all
      if (density !== undefined) own.density = density;
    }
    return { ...own, ...Object.fromEntries(given) } as MergeOptions;
  };
  const linears = adapters.linears.values();
  return planMerge({ method: method.name, sources, linears, options: optionsOf });
}

/** A value that the method would ignore is a mistake. Options of the merge are checked with it. */
function refuseUnused(
  { models, parameters }: MergeRecipe,
  { name: method, convention }: MergeMethod,
  used: readonly string[],
): void {
  const isMergekits = convention === "mergekit";
  const tables: [string, Parameters][] = models.map((model) => [model.name, model.parameters]);
  for (const [where, table] of tables) {
    const unused = [...table.keys()].find((key) => !used.includes(key));
    if (unused !== undefined) throw unusedParameter(method, `${unused} per adapter`, where);
  }
  const checked: readonly string[] = isMergekits ? PRUNING : ["gamma", "epsilon"];
  const unused = checked.find((key) => parameters.has(key) && !used.includes(key));
  if (unused !== undefined) throw unusedParameter(method, unused, "parameters");
}

function unusedParameter(method: string, what: string, where: string): TureenError {
  return new TureenError("OPTION_INVALID", `merge method "${method}" takes no ${what}`, { where });
}

function weightMissing(name: string, { path }: LinearInfo): TureenError {
  return new TureenError("SOUP_INVALID", "the merge recipe gives an adapter no weight", {
    expected: "parameters.weight, of the model or of the recipe",
    where: `${name}, ${path}`,
  });
}
