// Flags of merge methods, for the commands that merge.
import type { ParseArgsConfig } from "node:util";
import type { MergeOption, MergeOptions } from "../soup/methods/method.ts";
import { MERGE_METHODS } from "../soup/methods/methods.ts";
import { choiceFlag, type Flags, integerFlag, numberFlag } from "./usage.ts";

export const METHOD_FLAGS: NonNullable<ParseArgsConfig["options"]> = {
  density: { type: "string" },
  "majority-sign": { type: "string" },
  "svd-rank": { type: "string" },
  "svd-clamp": { type: "string" },
  lambda: { type: "string" },
  normalize: { type: "string" },
  rescale: { type: "string" },
  gamma: { type: "string" },
  epsilon: { type: "string" },
  "select-topk": { type: "string" },
  seed: { type: "string" },
  compat: { type: "string" },
};

export const METHOD_HELP = `  --density D             share of elements that are kept (ties, dare, magnitude_prune, della, …)
  --majority-sign S       total (default), frequency
  --svd-rank R            rank of the result; makes an adapter of what is dense
  --svd-clamp Q           quantile beyond which factors are clamped
  --lambda X --normalize B --rescale B --gamma X --epsilon X --select-topk X   mergekit's
  --seed N                of random masks, default 0: the same seed gives the same merge on every host
  --compat V              peft, peft-0.20: PEFT's numbers also where they are known to be wrong`;

/** Options that were given; whether the method takes them is the library's to say. */
export function methodOptions(flags: Flags): MergeOptions {
  const given: { readonly [K in MergeOption]?: MergeOptions[K] | undefined } = {
    density: numberFlag(flags, "density"),
    majoritySign: choiceFlag(flags, "majority-sign", ["total", "frequency"]),
    svdRank: integerFlag(flags, "svd-rank", 1),
    svdClamp: numberFlag(flags, "svd-clamp"),
    lambda: numberFlag(flags, "lambda"),
    normalize: booleanFlag(flags, "normalize"),
    rescale: booleanFlag(flags, "rescale"),
    gamma: numberFlag(flags, "gamma"),
    epsilon: numberFlag(flags, "epsilon"),
    selectTopk: numberFlag(flags, "select-topk"),
    seed: integerFlag(flags, "seed", 0),
    compat: choiceFlag(flags, "compat", ["peft", "peft-0.20"]),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function booleanFlag(flags: Flags, name: string): boolean | undefined {
  const choice = choiceFlag(flags, name, ["true", "false"]);
  return choice === undefined ? undefined : choice === "true";
}

/** All methods and what they do, by convention. */
export function describeMethods(): string {
  const width = Math.max(...MERGE_METHODS.map(({ name }) => name.length)) + 2;
  return MERGE_METHODS.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`).join("\n");
}
