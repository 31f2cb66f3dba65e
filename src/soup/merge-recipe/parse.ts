// Parses a merge recipe in mergekit's shape (YAML), for the methods and the models there are here: one base and LoRA adapters.
// Owns the names; `parameters.ts` owns the values. Whatever it does not know is an error, never ignored.
//
//   merge_method: ties              # mergekit's name means mergekit's convention; PEFT's is peft:ties
//   base_model: path/to/base
//   models:
//     - model: path/to/base+path/to/adapter
//       parameters: { weight: [0, 0.5, 1], density: [{ filter: mlp, value: 0.5 }, { value: 1 }] }
//   parameters: { normalize: true }
//   dtype: bfloat16
import { type Document, parseDocument } from "yaml";
import { TureenError } from "../../errors.ts";
import { findMergeMethod, MERGE_METHODS } from "../methods/methods.ts";
import { nearestNames } from "../nearest-names.ts";
import type { WrittenDType } from "../peft-writer.ts";
import { checkSetting, type Parameters, type Setting } from "./parameters.ts";

/** One adapter of a recipe. */
export interface RecipeModel {
  /** Where the adapter is: what follows the `+`. */
  readonly source: string;
  /** Unique: the last part of `source`, or all of it. */
  readonly name: string;
  readonly parameters: Parameters;
}

export interface MergeRecipe {
  /** Of `MERGE_METHODS`. */
  readonly method: string;
  /** Where the base is. */
  readonly base: string;
  readonly models: readonly RecipeModel[];
  /** For all models, and for the merge. */
  readonly parameters: Parameters;
  /** Type of what is written. */
  readonly dtype: WrittenDType | undefined;
}

const KEYS = ["merge_method", "base_model", "models", "parameters", "dtype", "out_dtype"];
/** mergekit's keys for what is not merged here. */
const FOREIGN_KEYS = ["slices", "modules", "tokenizer", "tokenizer_source", "chat_template"];
const MODEL_KEYS = ["model", "parameters"];
/** Of a model; as a parameter of the recipe, the default of all models. */
export const MODEL_PARAMETERS = ["weight", "density", "gamma", "epsilon"] as const;
/** Of the merge, and the options they are. */
export const MERGE_PARAMETERS = {
  normalize: "normalize",
  rescale: "rescale",
  lambda: "lambda",
  select_topk: "selectTopk",
  svd_rank: "svdRank",
  svd_clamp: "svdClamp",
  majority_sign: "majoritySign",
  seed: "seed",
  compat: "compat",
} as const;
/** mergekit's switch for holding masks in 8 bits: no result depends on it. */
const WITHOUT_EFFECT = "int8_mask";

const DTYPES: Readonly<Record<string, WrittenDType>> = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
};

/** Far more than any recipe has. */
const MAX_LENGTH = 1024 * 1024;

/**
 * @param where the file, for messages
 * @throws TureenError `SOUP_INVALID` (not YAML, unknown keys with the nearest known one, wrong values), `FORMAT_UNSUPPORTED`
 *   (mergekit's features that are not here), `OPTION_INVALID` (unknown method)
 */
export function parseMergeRecipe(text: string, where: string): MergeRecipe {
  const root = requireRecord(parseYaml(text, where), where);
  checkKeys(root, KEYS, where, FOREIGN_KEYS);
  const name = requireText(root.merge_method, `${where}: merge_method`, "the name of a method");
  const parameters = parseParameters(root.parameters, `${where}: parameters`, true);
  const { method, extra } = resolveMethod(name, parameters, where);
  const { base, models } = parseModels(root, name, where);
  return {
    method,
    base,
    models,
    parameters: new Map([...parameters, ...extra]),
    dtype: parseDType(root.out_dtype ?? root.dtype, where),
  };
}

function parseYaml(text: string, where: string): unknown {
  if (text.length > MAX_LENGTH) {
    throw new TureenError("SOUP_INVALID", "the merge recipe is too long", {
      expected: `at most ${MAX_LENGTH} characters`,
      found: String(text.length),
      where,
    });
  }
  const document: Document.Parsed = parseDocument(text, { prettyErrors: true });
  const [error] = document.errors;
  if (error !== undefined) {
    const [what = "", ...rest] = error.message.split("\n");
    const found = rest.find((line) => line.trim() !== "")?.trim();
    throw new TureenError(
      "SOUP_INVALID",
      `the merge recipe is not YAML: ${what.replace(/:$/, "")}`,
      {
        ...(found === undefined ? {} : { found }),
        where,
      },
    );
  }
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new TureenError("SOUP_INVALID", "the merge recipe cannot be read", { where }, { cause });
  }
}

/**
 * mergekit's names mean mergekit's conventions, so that a recipe gives the same here as there. Its `linear` is a weighted mean
 * of whole models: base + Σ w_i ΔW_i / Σ w_i.
 */
function resolveMethod(
  name: string,
  parameters: Parameters,
  where: string,
): { method: string; extra: [string, Setting][] } {
  if (name === "linear") {
    if (parameters.get("normalize") === false) {
      throw new TureenError("FORMAT_UNSUPPORTED", "mergekit's linear is a weighted mean here", {
        found: "normalize: false, which scales the base too",
        where,
        hint: "Use task_arithmetic, which adds weighted deltas to the base.",
      });
    }
    return { method: "mergekit:task_arithmetic", extra: [["normalize", true]] };
  }
  const peft = /^peft:(.*)/.exec(name)?.[1];
  if (peft !== undefined) {
    const found = MERGE_METHODS.find((method) => method.name === peft);
    if (found?.convention === "peft" || peft === "cat") return { method: peft, extra: [] };
  }
  const isMergekits = MERGE_METHODS.some((method) => method.name === `mergekit:${name}`);
  if (isMergekits) return { method: `mergekit:${name}`, extra: [] };
  return { method: findMergeMethod(name).name, extra: [] };
}

function parseModels(
  root: Readonly<Record<string, unknown>>,
  method: string,
  where: string,
): { base: string; models: RecipeModel[] } {
  const at = `${where}: models`;
  if (!Array.isArray(root.models) || root.models.length === 0) {
    throw wrongValue(root.models, "a list of models", at);
  }
  const entries = root.models.map((item: unknown, i) => parseModel(item, `${at}[${i}]`));
  const given =
    root.base_model === undefined || root.base_model === null
      ? undefined
      : requireText(root.base_model, `${where}: base_model`, "the path of the base model");
  const base = given ?? entries[0]!.base;
  const adapters = entries.filter((entry, i) => {
    if (normalize(entry.base) !== normalize(base)) {
      throw new TureenError("FORMAT_UNSUPPORTED", "models of different bases are not merged", {
        expected: `${base}+ADAPTER`,
        found: entry.model,
        where: `${at}[${i}]`,
        hint: "Only LoRA adapters of one base can be merged here.",
      });
    }
    if (entry.source !== undefined) return true;
    if (method !== "linear") return false; // as in mergekit, the base adds nothing to itself
    throw new TureenError("FORMAT_UNSUPPORTED", "linear cannot take the base itself", {
      where: `${at}[${i}]`,
      hint: "Use task_arithmetic, with each weight divided by the sum of all.",
    });
  });
  if (adapters.length === 0) {
    throw wrongValue(entries[0]!.model, `${base}+ADAPTER`, at);
  }
  const short = adapters.map(({ source }) => lastPart(source!));
  const names = new Set(short).size < short.length ? adapters.map(({ source }) => source!) : short;
  if (new Set(names).size < names.length) {
    throw new TureenError("SOUP_INVALID", "the merge recipe names an adapter twice", { where: at });
  }
  return {
    base,
    models: adapters.map(({ source, parameters }, i) => ({
      source: source!,
      name: names[i]!.replaceAll(/[=,]/g, "_"),
      parameters,
    })),
  };
}

function parseModel(
  item: unknown,
  where: string,
): { model: string; base: string; source: string | undefined; parameters: Parameters } {
  const record = requireRecord(item, where);
  checkKeys(record, MODEL_KEYS, where);
  const model = requireText(record.model, `${where}.model`, "base+adapter");
  const parts = model.split("+").map((part) => part.trim());
  if (parts.length > 2 || parts.includes("")) throw wrongValue(model, "base+adapter", where);
  const parameters = parseParameters(record.parameters, `${where}.parameters`, false);
  return { model, base: parts[0]!, source: parts[1], parameters };
}

function parseParameters(value: unknown, where: string, isGlobal: boolean): Parameters {
  const parameters = new Map<string, Setting>();
  if (value === undefined || value === null) return parameters;
  const record = requireRecord(value, where);
  const merge = Object.keys(MERGE_PARAMETERS);
  const misplaced = isGlobal ? undefined : Object.keys(record).find((key) => merge.includes(key));
  if (misplaced !== undefined) {
    throw new TureenError("SOUP_INVALID", `${misplaced} is a parameter of the whole merge`, {
      where,
      hint: "Move it to the recipe's own parameters.",
    });
  }
  checkKeys(
    record,
    isGlobal ? [...MODEL_PARAMETERS, ...merge, WITHOUT_EFFECT] : [...MODEL_PARAMETERS],
    where,
  );
  for (const [key, setting] of Object.entries(record)) {
    const checked = checkSetting(setting, `${where}.${key}`);
    if (key !== WITHOUT_EFFECT) parameters.set(key, checked);
  }
  return parameters;
}

function parseDType(value: unknown, where: string): WrittenDType | undefined {
  if (value === undefined || value === null) return undefined;
  const dtype = typeof value === "string" ? DTYPES[value] : undefined;
  if (dtype !== undefined) return dtype;
  throw wrongValue(value, Object.keys(DTYPES).join(", "), `${where}: dtype`);
}

function checkKeys(
  record: Readonly<Record<string, unknown>>,
  known: readonly string[],
  where: string,
  foreign: readonly string[] = [],
): void {
  for (const key of Object.keys(record)) {
    if (known.includes(key)) continue;
    if (foreign.includes(key)) {
      throw new TureenError("FORMAT_UNSUPPORTED", `mergekit's ${key} is not supported`, {
        expected: known.join(", "),
        where,
      });
    }
    const [nearest] = nearestNames(key, known, 1);
    throw new TureenError("SOUP_INVALID", `the merge recipe has an unknown key "${key}"`, {
      expected: known.join(", "),
      where,
      hint: `Did you mean ${nearest}?`,
    });
  }
}

function requireRecord(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Readonly<Record<string, unknown>>;
  }
  throw wrongValue(value, "keys and values", where);
}

function requireText(value: unknown, where: string, expected: string): string {
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  throw wrongValue(value, expected, where);
}

function wrongValue(value: unknown, expected: string, where: string): TureenError {
  return new TureenError("SOUP_INVALID", "a value of the merge recipe is missing or invalid", {
    expected,
    found: JSON.stringify(value)?.slice(0, 60) ?? "nothing",
    where,
  });
}

function normalize(path: string): string {
  return path.replace(/\/+$/, "");
}

function lastPart(path: string): string {
  return normalize(path).split("/").at(-1) || path;
}
