// soup.json: a soup as a file. Says which base and adapters it blends, by content, and with which weights. Reads and checks;
// loading the adapters is the caller's.
import * as v from "valibot";
import { TureenError } from "../errors.ts";
import type { AdapterIdentity, BaseIdentity } from "./identity.ts";
import type { SoupWeights } from "./weights.ts";

/** The content of a `soup.json`, version 1. */
export interface SoupRecipe {
  readonly format: "tureen-soup";
  readonly version: 1;
  /** `cat`: y = W x + Σ_i w_i s_i B_i A_i x, exactly. */
  readonly method: "cat";
  readonly base: BaseIdentity;
  readonly adapters: readonly AdapterIdentity[];
  /** Per adapter: a number, or numbers per layer or linear layer. */
  readonly weights: SoupWeights;
  /** How the weights were found, for people and later tools; the loader ignores it. */
  readonly learned?: LearningNotes | undefined;
}

/** Facts of a learning run: plain values, and curves. */
export type LearningNotes = Readonly<Record<string, string | number | boolean | readonly number[]>>;

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "expected 64 hex digits"));
const weight = v.pipe(v.number(), v.finite("expected a finite number"));
const schema = v.strictObject({
  format: v.literal("tureen-soup"),
  version: v.literal(1),
  method: v.literal("cat"),
  base: v.strictObject({ fingerprint: hash }),
  adapters: v.array(
    v.strictObject({ name: v.pipe(v.string(), v.minLength(1)), config: hash, weights: hash }),
  ),
  weights: v.record(
    v.string(),
    v.union([
      weight,
      v.strictObject({
        default: v.optional(weight),
        layers: v.optional(v.union([v.array(weight), v.record(v.string(), weight)])),
        linears: v.optional(v.record(v.string(), weight)),
      }),
    ]),
  ),
  learned: v.optional(
    v.record(v.string(), v.union([v.string(), v.number(), v.boolean(), v.array(v.number())])),
  ),
});

/**
 * Parses a recipe, strictly: unknown fields and versions are refused.
 * @param json text, or what `JSON.parse` made of it
 * @param where for messages: the file's name
 * @throws TureenError `SOUP_INVALID`, or `FORMAT_UNSUPPORTED` for a later version
 */
export function parseRecipe(json: unknown, where = "soup.json"): SoupRecipe {
  const value = typeof json === "string" ? parseJson(json, where) : json;
  const version = isRecord(value) && value.format === "tureen-soup" ? value.version : undefined;
  if (typeof version === "number" && version > 1) {
    throw new TureenError("FORMAT_UNSUPPORTED", "the soup was written by a later version", {
      expected: "version 1",
      found: `version ${version}`,
      where,
    });
  }
  const result = v.safeParse(schema, value);
  if (!result.success) throw invalid(result.issues[0], where);
  const recipe = result.output as SoupRecipe;
  const names = new Set(recipe.adapters.map(({ name }) => name));
  if (names.size < recipe.adapters.length) {
    throw new TureenError("SOUP_INVALID", "two adapters of the soup have the same name", { where });
  }
  for (const name of Object.keys(recipe.weights)) {
    if (names.has(name)) continue;
    throw new TureenError(
      "SOUP_INVALID",
      `the soup weighs "${name}", which is not one of its adapters`,
      {
        expected: [...names].join(", "),
        where,
      },
    );
  }
  return recipe;
}

/** The text of a `soup.json`: two spaces, one field per line, a newline at the end. */
export function serializeRecipe(recipe: SoupRecipe): string {
  return `${JSON.stringify(parseRecipe(recipe), null, 2)}\n`;
}

/**
 * Compares what a recipe was made from with what is loaded.
 * @throws TureenError `SOUP_INVALID` at the first difference
 */
export function verifyRecipe(
  recipe: SoupRecipe,
  base: BaseIdentity,
  adapters: readonly AdapterIdentity[],
): void {
  const hint = "Load what the soup was made from, or allow other files explicitly.";
  if (recipe.base.fingerprint !== base.fingerprint) {
    throw new TureenError("SOUP_INVALID", "the soup was made for another base model", {
      expected: `fingerprint ${recipe.base.fingerprint.slice(0, 12)}…`,
      found: `${base.fingerprint.slice(0, 12)}…`,
      hint,
    });
  }
  for (const wanted of recipe.adapters) {
    const found = adapters.find(({ name }) => name === wanted.name);
    for (const file of ["weights", "config"] as const) {
      if (found === undefined || found[file] === wanted[file]) continue;
      throw new TureenError("SOUP_INVALID", `adapter "${wanted.name}" is not the soup's`, {
        expected: `${file} with SHA-256 ${wanted[file].slice(0, 12)}…`,
        found: `${found[file].slice(0, 12)}…`,
        hint,
      });
    }
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new TureenError("SOUP_INVALID", "the soup is not JSON", { where }, { cause });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function invalid(issue: v.InferIssue<typeof schema>, where: string): TureenError {
  const path = v.getDotPath(issue);
  const ours = /^expected (.*)/.exec(issue.message)?.[1];
  const expected = issue.expected === "never" ? "no such field" : issue.expected;
  return new TureenError("SOUP_INVALID", "the soup file does not follow its format", {
    expected: ours ?? expected ?? "another value",
    found: issue.received,
    where: path === null ? where : `${where}: ${path}`,
  });
}
