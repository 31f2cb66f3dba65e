// Parses adapter_config.json and decides what PEFT would compute from it at inference: plain LoRA is accepted, options that
// only steer training are ignored, and everything else that changes the result is refused by name.
// Read against PEFT 0.21.0 (LoraConfig, LoraLayer.update_layer, tuners/lora/variants.py).
import * as v from "valibot";
import { TureenError } from "../errors.ts";
import { refuseUnsupportedOptions } from "./peft-options.ts";

/** A LoRA adapter's settings, under PEFT's names. */
export interface PeftConfig {
  /** Default rank. */
  readonly r: number;
  readonly loraAlpha: number;
  /** Scaling is lora_alpha / sqrt(r) instead of lora_alpha / r. (arXiv 2312.03732) */
  readonly useRslora: boolean;
  /** Module name or regular expression → rank, in order. */
  readonly rankPattern: ReadonlyMap<string, number>;
  /** Module name or regular expression → lora_alpha, in order. */
  readonly alphaPattern: ReadonlyMap<string, number>;
  /** Name endings; or a regular expression or `all-linear`; undefined: PEFT's default for the architecture. */
  readonly targetModules: readonly string[] | string | undefined;
  /** Name endings, or a regular expression. */
  readonly excludeModules: readonly string[] | string | undefined;
  /** Layer indices; undefined or empty: all. */
  readonly layersToTransform: readonly number[] | undefined;
  /** Names of the module lists that `layersToTransform` counts in; empty: any. */
  readonly layersPattern: readonly string[];
  /** As in the file. PEFT stores A as [r, in] and B as [out, r] either way, so nothing depends on it here. */
  readonly fanInFanOut: boolean;
  /** B has a bias. */
  readonly loraBias: boolean;
  /** Modules that the adapter replaces whole. */
  readonly modulesToSave: readonly string[];
  /** `base_model_name_or_path` */
  readonly baseModel: string | undefined;
  /** `peft_version` */
  readonly peftVersion: string | undefined;
}

// Each message is what an error says was expected.
const text = v.string("a string");
const flag = v.nullish(v.boolean("true or false"), false);
const names = v.nullish(
  v.union([v.string(), v.array(v.string())], "a string or a list of strings"),
);
const index = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const rank = v.pipe(
  v.number("an integer"),
  v.safeInteger("an integer"),
  v.minValue(1, "at least 1"),
);
const alpha = v.pipe(v.number("a number"), v.finite("a finite number"));

/** Defaults are LoraConfig's. */
const schema = v.looseObject({
  r: v.optional(rank, 8),
  lora_alpha: v.optional(alpha, 8),
  use_rslora: flag,
  rank_pattern: v.nullish(v.record(v.string(), rank, "a map of ranks"), {}),
  alpha_pattern: v.nullish(v.record(v.string(), alpha, "a map of numbers"), {}),
  target_modules: names,
  exclude_modules: names,
  layers_to_transform: v.nullish(
    v.union([index, v.array(index)], "a layer index or a list of them"),
  ),
  layers_pattern: names,
  fan_in_fan_out: flag,
  bias: v.nullish(v.picklist(["none", "all", "lora_only"], "none, all or lora_only"), "none"),
  lora_bias: flag,
  modules_to_save: v.nullish(v.array(text, "a list of strings"), []),
  base_model_name_or_path: v.nullish(text),
  peft_version: v.nullish(text),
});

/**
 * Parses the content of `adapter_config.json`.
 * @param where the file, for messages
 * @throws TureenError `ADAPTER_CONFIG_INVALID`; `ADAPTER_UNSUPPORTED` names the PEFT type or option
 */
export function parsePeftConfig(json: unknown, where: string): PeftConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw invalid("the adapter's config is not an object", "a JSON object", undefined, where);
  }
  refuseUnsupportedOptions(json as Readonly<Record<string, unknown>>, where);
  const result = v.safeParse(schema, json, { abortEarly: true });
  if (!result.success) {
    const issue = result.issues[0];
    const path = v.getDotPath(issue) ?? "the adapter's config";
    const found = JSON.stringify(issue.input)?.slice(0, 80);
    throw invalid(`${path} is not usable`, issue.message, found, where);
  }
  return checkCombinations(toConfig(result.output), where);
}

function toConfig(raw: v.InferOutput<typeof schema>): PeftConfig {
  const layers = raw.layers_to_transform ?? undefined;
  const pattern = raw.layers_pattern || [];
  return {
    r: raw.r,
    loraAlpha: raw.lora_alpha,
    useRslora: raw.use_rslora,
    rankPattern: new Map(Object.entries(raw.rank_pattern)),
    alphaPattern: new Map(Object.entries(raw.alpha_pattern)),
    targetModules: raw.target_modules ?? undefined,
    excludeModules: raw.exclude_modules ?? undefined,
    layersToTransform: typeof layers === "number" ? [layers] : layers,
    layersPattern: typeof pattern === "string" ? [pattern] : pattern,
    fanInFanOut: raw.fan_in_fan_out,
    loraBias: raw.lora_bias,
    modulesToSave: raw.modules_to_save,
    baseModel: raw.base_model_name_or_path ?? undefined,
    peftVersion: raw.peft_version ?? undefined,
  };
}

/** What LoraConfig itself refuses. */
function checkCombinations(config: PeftConfig, where: string): PeftConfig {
  const { targetModules, layersToTransform, layersPattern } = config;
  if (typeof targetModules === "string" && layersToTransform !== undefined) {
    const what = "layers_to_transform cannot stand beside a target_modules that is a string";
    throw invalid(what, "a list of names", JSON.stringify(targetModules), where);
  }
  if (layersPattern.length > 0 && layersToTransform === undefined) {
    throw invalid("layers_pattern needs layers_to_transform", undefined, undefined, where);
  }
  return config;
}

function invalid(
  what: string,
  expected: string | undefined,
  found: string | undefined,
  where: string,
): TureenError {
  return new TureenError("ADAPTER_CONFIG_INVALID", what, {
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
    where,
  });
}
