// Checks of the options of merge methods: known, taken by the method, of the right kind and range.
import { TureenError } from "../../errors.ts";
import { nearestNames } from "../nearest-names.ts";
import type { MergeMethod, MergeOption, MergeOptions } from "./method.ts";

interface Rule {
  readonly expected: string;
  accepts(value: unknown): boolean;
}

const boolean: Rule = {
  expected: "true or false",
  accepts: (value) => typeof value === "boolean",
};

function number(expected: string, isInRange: (value: number) => boolean): Rule {
  return {
    expected,
    accepts: (value) => typeof value === "number" && Number.isFinite(value) && isInRange(value),
  };
}

function oneOf(...values: readonly string[]): Rule {
  return {
    expected: values.map((value) => `"${value}"`).join(" or "),
    accepts: (value) => values.some((allowed) => allowed === value),
  };
}

const fraction = number("a number above 0, at most 1", (value) => value > 0 && value <= 1);

const RULES: Readonly<Record<MergeOption, Rule>> = {
  density: fraction,
  majoritySign: oneOf("total", "frequency"),
  svdRank: number("a whole number of at least 1", (value) => Number.isInteger(value) && value >= 1),
  svdClamp: number("a number above 0.5, at most 1", (value) => value > 0.5 && value <= 1),
  seed: number("a whole number in 0..2^53-1", (value) => Number.isSafeInteger(value) && value >= 0),
  lambda: number("a finite number", () => true),
  normalize: boolean,
  rescale: boolean,
  gamma: number("a number of at least 0, below 1", (value) => value >= 0 && value < 1),
  epsilon: number("a number of at least 0, below 0.5", (value) => value >= 0 && value < 0.5),
  selectTopk: fraction,
  compat: oneOf("peft", "peft-0.20"),
  masks: {
    expected: "a function",
    accepts: (value) => typeof value === "function",
  },
};

/** All options of all methods. */
export const MERGE_OPTIONS: readonly MergeOption[] = Object.keys(RULES) as MergeOption[];

/**
 * @param methods all, to say which take an option that this one does not
 * @throws TureenError `OPTION_INVALID`
 */
export function checkOptions(
  method: MergeMethod,
  options: MergeOptions,
  methods: readonly MergeMethod[],
): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (!isOption(name)) throw unknownOption(name, method);
    if (!method.options.includes(name)) throw foreignOption(name, method, methods);
    checkValue(name, value);
  }
  for (const name of method.required) {
    if (options[name] !== undefined) continue;
    throw new TureenError("OPTION_INVALID", `merge method "${method.name}" needs ${name}`, {
      expected: RULES[name].expected,
    });
  }
}

/** @throws TureenError `OPTION_INVALID` */
export function checkValue(name: MergeOption, value: unknown, where?: string): void {
  const { expected, accepts } = RULES[name];
  if (accepts(value)) return;
  throw new TureenError("OPTION_INVALID", `${name} is invalid`, {
    expected,
    found: typeof value === "string" ? JSON.stringify(value) : String(value),
    ...(where === undefined ? {} : { where }),
  });
}

function isOption(name: string): name is MergeOption {
  return Object.hasOwn(RULES, name);
}

function unknownOption(name: string, method: MergeMethod): TureenError {
  const [nearest] = nearestNames(name, method.options, 1);
  const guess = nearest === undefined ? "" : `Did you mean ${nearest}? `;
  return new TureenError(
    "OPTION_INVALID",
    `merge method "${method.name}" has no option ${JSON.stringify(name)}`,
    { hint: `${guess}It takes ${list(method.options)}.` },
  );
}

function foreignOption(
  name: MergeOption,
  method: MergeMethod,
  methods: readonly MergeMethod[],
): TureenError {
  const takers = methods.filter(({ options }) => options.includes(name)).map(({ name }) => name);
  return new TureenError("OPTION_INVALID", `merge method "${method.name}" does not use ${name}`, {
    hint: `It takes ${list(method.options)}. Methods with ${name}: ${list(takers)}.`,
  });
}

function list(names: readonly string[]): string {
  return names.length === 0 ? "no options" : names.join(", ");
}
