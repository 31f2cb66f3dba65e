// `--methods base,each,cat@0.5,ties,…`: what each word stands for. Pure; files that words name are read by the caller.
import type { Contender } from "../compare/compare.ts";
import type { Task } from "../compare/evaluate.ts";
import type { LearnSoupOptions } from "../learn/learn-soup.ts";
import type { MergeOptions } from "../soup/methods/method.ts";
import { MERGE_METHODS } from "../soup/methods/methods.ts";
import { nearestNames } from "../soup/nearest-names.ts";
import { parseNumber, UsageError } from "./usage.ts";

export interface ContenderContext {
  /** Names of all adapters, in order. */
  readonly adapters: readonly string[];
  /** Weights of those that are blended. */
  readonly weights: Readonly<Record<string, number>>;
  /** Each method takes those that it knows. */
  readonly options: MergeOptions;
  /** Examples to find LoRAHub's weights with. */
  readonly few: Task | undefined;
  /** How to learn a soup. */
  readonly learning: LearnSoupOptions | undefined;
  readonly seed: number;
  /** Content of the soup files that are named. */
  readonly recipes: ReadonlyMap<string, string>;
}

export const CONTENDERS_HELP = `  base                    the base model alone
  each                    every adapter alone, with weight 1; NAME is one of them
  FILE.json               a soup.json
  learned                 weights learned from --learn
  lorahub                 LoRAHub: weights found on the examples of --few
  METHOD                  any method of \`tureen merge\`, with --weights (default 1 each)
  METHOD@W, METHOD@W/W    with this weight for each adapter, or these, in the order of --adapter`;

/** Names of soup files among the words. */
export function soupFiles(words: readonly string[]): string[] {
  return words.filter((word) => word.endsWith(".json"));
}

/** @throws UsageError */
export function toContenders(words: readonly string[], context: ContenderContext): Contender[] {
  return words.flatMap((word) => toContender(word, context));
}

function toContender(word: string, context: ContenderContext): Contender[] {
  const { adapters, recipes, few, learning, seed } = context;
  const alone = (name: string): Contender => ({ kind: "soup", name, weights: { [name]: 1 } });
  if (word === "base") return [{ kind: "base", name: word }];
  if (word === "each") return adapters.map(alone);
  if (adapters.includes(word)) return [alone(word)];
  const recipe = recipes.get(word);
  if (recipe !== undefined) return [{ kind: "recipe", name: word, recipe }];
  if (word === "learned") {
    if (learning === undefined) throw new UsageError("learned needs --learn FILE");
    return [{ kind: "learned", name: word, options: learning }];
  }
  const [method = "", weightText] = word.split("@", 2);
  const weights = weightText === undefined ? context.weights : parse(weightText, word, context);
  if (method === "lorahub" && weightText === undefined) {
    if (few === undefined)
      throw new UsageError("lorahub needs --few FILE, or weights: lorahub@W/W");
    return [{ kind: "lorahub", name: word, adapters: Object.keys(weights), task: few, seed }];
  }
  if (method === "cat") return [{ kind: "soup", name: word, weights }];
  const options = optionsOf(method, context.options, word);
  return [{ kind: "merge", name: word, method, weights, options }];
}

/** Weights behind the `@`. */
function parse(
  text: string,
  word: string,
  { weights }: ContenderContext,
): Readonly<Record<string, number>> {
  const names = Object.keys(weights);
  const values = text.split("/").map((item) => parseNumber(item, word));
  if (values.length !== 1 && values.length !== names.length) {
    throw new UsageError(`${word}: expected one weight, or ${names.length} (${names.join(", ")})`);
  }
  return Object.fromEntries(names.map((name, i) => [name, values[i] ?? values[0]!]));
}

function optionsOf(name: string, all: MergeOptions, word: string): MergeOptions {
  const method = MERGE_METHODS.find((method) => method.name === name);
  if (method === undefined) {
    const known = ["base", "each", "learned", ...MERGE_METHODS.map(({ name }) => name)];
    const nearest = nearestNames(name, known).join(", ");
    throw new UsageError(`--methods: "${word}" is no method, adapter or soup; nearest: ${nearest}`);
  }
  const own = Object.entries(all).filter(([option]) => method.options.some((o) => o === option));
  return Object.fromEntries(own);
}
