// Does an adapter fit a base model? Compares three things: what the config targets, what the file holds, and what the base
// has. Any disagreement would merge something other than what was trained, so each one is an error.
import { type ErrorDetails, TureenError } from "../errors.ts";
import type { PeftConfig } from "../formats/peft-config.ts";
import type { LinearInfo } from "../model/config.ts";
import type { LoraTensors } from "./adapter-tensors.ts";
import { createTargetMatcher, EMBEDDING, type TargetMatcher } from "./targets.ts";

/** What an adapter adds to one linear layer. */
export interface AdapterModule {
  /** The linear layer's path. */
  readonly path: string;
  readonly rank: number;
  /** lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA; patterns applied. */
  readonly scaling: number;
  /** Output features. */
  readonly rows: number;
  /** Input features. */
  readonly cols: number;
  /** B has a bias; it is scaled like the product. */
  readonly hasBias: boolean;
}

/** Everything that must agree. */
export interface AdapterParts {
  readonly config: PeftConfig;
  /** The config's file, for messages. */
  readonly configFile: string;
  /** By module path. */
  readonly tensors: ReadonlyMap<string, LoraTensors>;
  readonly linears: readonly LinearInfo[];
  /** The adapter's folder, for messages. */
  readonly where: string;
}

const OTHER_BASE = "The adapter was probably trained for another base model";

/**
 * Checks an adapter against its base.
 * @returns the modules it changes, in model order
 * @throws TureenError `ADAPTER_MISMATCH`, and what `createTargetMatcher` throws
 */
export async function checkAgainstBase(parts: AdapterParts): Promise<Map<string, AdapterModule>> {
  const matcher = await createTargetMatcher(parts.config, parts.configFile);
  checkNames(parts);
  checkTargets(parts, matcher);
  const modules = new Map<string, AdapterModule>();
  for (const linear of parts.linears) {
    const tensors = parts.tensors.get(linear.path);
    if (tensors === undefined) continue;
    modules.set(linear.path, checkModule(parts, linear, tensors, matcher));
  }
  return modules;
}

/** Every module of the file is a linear layer of the base. */
function checkNames(parts: AdapterParts): void {
  const known = new Set(parts.linears.map(({ path }) => path));
  const unknown = [...parts.tensors.keys()].filter((path) => !known.has(path));
  const first = unknown[0];
  if (first === undefined) return;
  const layers = countLayers(parts.linears);
  const deepest = maxLayer(unknown.map(layerOf));
  // Would the same names in a lower layer be known? Then only the number of layers differs.
  const deeper = unknown.every((path) => known.has(path.replace(/\.\d+\./, ".0.")));
  if (deeper && deepest >= layers) {
    throw mismatch(parts, "the adapter has more layers than the base model", {
      expected: `layers 0 to ${layers - 1}`,
      found: `layer ${deepest}`,
    });
  }
  throw mismatch(parts, "the adapter changes modules that the base model does not have", {
    expected: `linear layers such as ${parts.linears[0]?.path ?? "none"}`,
    found: unknown.length === 1 ? first : `${first} and ${unknown.length - 1} more`,
  });
}

/** The config targets exactly the modules that have tensors. */
function checkTargets(parts: AdapterParts, matcher: TargetMatcher): void {
  if (matcher.isTargeted(EMBEDDING)) {
    throw new TureenError("ADAPTER_UNSUPPORTED", "LoRA on an embedding is not supported", {
      found: "embed_tokens among target_modules",
      where: parts.configFile,
    });
  }
  const missing: LinearInfo[] = [];
  for (const linear of parts.linears) {
    const isTargeted = matcher.isTargeted(linear.path);
    const isPresent = parts.tensors.has(linear.path);
    if (isTargeted && !isPresent) missing.push(linear);
    if (isTargeted || !isPresent) continue;
    throw mismatch(parts, "the adapter has tensors for a module that its config does not target", {
      expected: `one of target_modules: ${printableTargets(parts.config)}`,
      found: linear.path,
      hint: "PEFT would leave these tensors out: correct adapter_config.json.",
    });
  }
  if (missing.length > 0) throw missingModules(parts, missing);
}

function missingModules(parts: AdapterParts, missing: readonly LinearInfo[]): TureenError {
  const present = maxLayer([...parts.tensors.keys()].map(layerOf)) + 1;
  if (missing.every(({ layer }) => layer >= present)) {
    return mismatch(parts, "the adapter has fewer layers than the base model", {
      expected: `${maxLayer(missing.map(({ layer }) => layer)) + 1} layers, by what its config targets`,
      found: `${present} layers`,
    });
  }
  const first = missing[0]!.path;
  return mismatch(parts, "the adapter's config targets modules without tensors", {
    expected: "tensors for every targeted module",
    found: `none for ${missing.length === 1 ? first : `${first} and ${missing.length - 1} more`}`,
    hint: "The file is incomplete, or was trained for another base model.",
  });
}

function checkModule(
  parts: AdapterParts,
  { path, rows, cols }: LinearInfo,
  { a, b, bias }: LoraTensors,
  matcher: TargetMatcher,
): AdapterModule {
  const rank = matcher.rankOf(path);
  if (a.shape.length === 2 && b.shape.length === 2) {
    if (a.shape[1] !== cols || b.shape[0] !== rows) {
      throw mismatch(parts, "the adapter has another shape than the base model", {
        expected: `lora_A [${rank}, ${cols}] and lora_B [${rows}, ${rank}] beside the base's [${rows}, ${cols}]`,
        found: `lora_A ${printable(a.shape)} and lora_B ${printable(b.shape)} for ${path}`,
      });
    }
  }
  const fits = isShape(a.shape, [rank, cols]) && isShape(b.shape, [rows, rank]);
  if (!fits) {
    throw mismatch(parts, "the adapter's tensors disagree with the rank in its config", {
      expected: `rank ${rank} for ${path}: lora_A [${rank}, ${cols}], lora_B [${rows}, ${rank}]`,
      found: `lora_A ${printable(a.shape)}, lora_B ${printable(b.shape)}`,
      hint: "Correct r or rank_pattern in adapter_config.json.",
    });
  }
  if ((bias !== undefined) !== parts.config.loraBias) {
    throw mismatch(parts, "the adapter's tensors disagree with lora_bias in its config", {
      expected: bias === undefined ? "a bias in every lora_B" : "no bias in any lora_B",
      found: bias?.name ?? `none for ${path}`,
      hint: "The file is incomplete, or its config was changed.",
    });
  }
  if (bias !== undefined && !isShape(bias.shape, [rows])) {
    throw mismatch(parts, "the bias of a lora_B has another shape than the base model", {
      expected: `[${rows}] for ${path}`,
      found: printable(bias.shape),
    });
  }
  return { path, rank, scaling: matcher.scalingOf(path), rows, cols, hasBias: bias !== undefined };
}

function mismatch(parts: AdapterParts, what: string, details: ErrorDetails): TureenError {
  const { baseModel } = parts.config;
  const hint =
    baseModel === undefined ? `${OTHER_BASE}.` : `${OTHER_BASE} (its config says ${baseModel}).`;
  return new TureenError("ADAPTER_MISMATCH", what, { hint, where: parts.where, ...details });
}

function countLayers(linears: readonly LinearInfo[]): number {
  return maxLayer(linears.map(({ layer }) => layer)) + 1;
}

function maxLayer(layers: readonly number[]): number {
  return layers.reduce((max, layer) => Math.max(max, layer), -1);
}

/** The first number in a module path; -1 if there is none. */
function layerOf(path: string): number {
  const match = /\.(\d{1,9})\./.exec(path);
  return match === null ? -1 : Number(match[1]);
}

function isShape(shape: readonly number[], expected: readonly number[]): boolean {
  return shape.length === expected.length && shape.every((size, i) => size === expected[i]);
}

function printable(shape: readonly number[]): string {
  return shape.length <= 8 ? `[${shape.join(", ")}]` : `${shape.length} dimensions`;
}

function printableTargets({ targetModules }: PeftConfig): string {
  const text = JSON.stringify(targetModules) ?? "PEFT's default";
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
