// Reading of command-line values. Pure; every mistake is a `UsageError`, which ends the program with exit code 2.

/** A command line that cannot be understood. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** What `parseArgs` returns for one option. */
export type FlagValue = string | boolean | (string | boolean)[] | undefined;
/** Option name → value. */
export type Flags = Readonly<Record<string, FlagValue>>;

export function textFlag(flags: Flags, name: string): string | undefined {
  const value = flags[name];
  return typeof value === "string" ? value : undefined;
}

/** @throws UsageError if it is not given */
export function requiredFlag(flags: Flags, name: string, placeholder: string): string {
  const value = textFlag(flags, name);
  if (value === undefined || value === "")
    throw new UsageError(`--${name} ${placeholder} is missing`);
  return value;
}

/** Values of an option that may be repeated. */
export function listFlag(flags: Flags, name: string): string[] {
  const value = flags[name];
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

export function numberFlag(flags: Flags, name: string): number | undefined {
  const text = textFlag(flags, name);
  return text === undefined ? undefined : parseNumber(text, `--${name}`);
}

/** @param min smallest value that is accepted */
export function integerFlag(flags: Flags, name: string, min: number): number | undefined {
  const text = textFlag(flags, name);
  if (text === undefined) return undefined;
  return parseInteger(text, `--${name}`, min);
}

export function choiceFlag<T extends string>(
  flags: Flags,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = textFlag(flags, name);
  if (text === undefined) return undefined;
  const choice = choices.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  throw new UsageError(`--${name}: expected ${choices.join(", ")}, found "${text}"`);
}

export function parseNumber(text: string, where: string): number {
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim())) return Number(text);
  throw new UsageError(`${where}: expected a number, found "${text}"`);
}

export function parseInteger(text: string, where: string, min: number): number {
  const value = /^-?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw new UsageError(`${where}: expected an integer of at least ${min}, found "${text}"`);
}

/** `5GB`, `200kB`, `1000` → bytes; powers of ten, as transformers counts. */
export function parseBytes(text: string | undefined, where: string): number | undefined {
  if (text === undefined) return undefined;
  const [, digits, unit = ""] = /^(\d+)\s*(|B|kB|KB|MB|GB|TB)$/.exec(text.trim()) ?? [];
  const scale = { "": 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 }[unit.toUpperCase()];
  const value = Number(digits) * (scale ?? Number.NaN);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new UsageError(`${where}: expected a size like 5GB or 200MB, found "${text}"`);
}

/** `NAME=REST` → [NAME, REST]. */
export function parsePair(text: string, where: string, shape: string): [string, string] {
  const at = text.indexOf("=");
  if (at > 0 && at < text.length - 1) return [text.slice(0, at).trim(), text.slice(at + 1).trim()];
  throw new UsageError(`${where}: expected ${shape}, found "${text}"`);
}

/** `NAME=W,NAME=W` → weights. */
export function parseWeights(text: string, where: string): Record<string, number> {
  const weights: Record<string, number> = {};
  for (const item of text.split(",")) {
    const [name, weight] = parsePair(item, where, "NAME=WEIGHT,NAME=WEIGHT");
    if (Object.hasOwn(weights, name)) throw new UsageError(`${where}: "${name}" is given twice`);
    weights[name] = parseNumber(weight, where);
  }
  return weights;
}

/** `1,2,3` → token ids. */
export function parseIds(text: string, where: string): number[] {
  return text.split(",").map((item) => parseInteger(item, where, 0));
}
