// Which linear layers an adapter's config targets, and with what rank and alpha: PEFT's rules (0.21.0:
// `check_target_module_exists` in tuners/tuners_utils.py, `get_pattern_key` in utils/other.py), exactly, for the names of a
// Llama-family model. Knows names only, no tensors. Regular expressions are loaded where a config has one: most list names.
import { TureenError } from "../errors.ts";
import type { PeftConfig } from "../formats/peft-config.ts";
import type { PythonRegex, RegexBudget } from "./python-regex.ts";

/** Answers for one adapter's config. Names are full module paths: `model.layers.3.self_attn.q_proj`. */
export interface TargetMatcher {
  isTargeted(path: string): boolean;
  rankOf(path: string): number;
  alphaOf(path: string): number;
  /** lora_alpha / r, or lora_alpha / sqrt(r) with rsLoRA. */
  scalingOf(path: string): number;
}

/** Work for all patterns and names of one adapter, in positions visited: a second or two. */
const MATCHING_BUDGET = 100_000_000;
/** PEFT's targets for llama, mistral, qwen2, qwen3 and gemma3_text where the config names none. */
const DEFAULT_TARGETS: readonly string[] = ["q_proj", "v_proj"];
/** The output layer, which `all-linear` leaves out. */
const OUTPUT_LAYER = "lm_head";
/** The one module besides linear layers that LoRA can target. */
export const EMBEDDING = "model.embed_tokens";

/**
 * Compiles a config's rules.
 * @param where the config's file, for messages
 * @throws TureenError `ADAPTER_CONFIG_INVALID` or `ADAPTER_UNSUPPORTED` for regular expressions that cannot be used. The
 *   matcher's methods throw `ADAPTER_UNSUPPORTED` when a pattern takes too long.
 */
export async function createTargetMatcher(
  config: PeftConfig,
  where: string,
): Promise<TargetMatcher> {
  let budget: RegexBudget | undefined;
  const compile: Compile = async (pattern) => {
    const { compilePythonRegex, RegexBudget } = await import("./python-regex.ts");
    budget ??= new RegexBudget(MATCHING_BUDGET);
    return compilePythonRegex(pattern, where, budget);
  };
  const isTarget = await compileTargets(config, compile, compileLayers(config, where));
  const isExcluded = await compileExclusions(config, compile);
  const rankOf = await compilePatternMap(config.rankPattern, config.r, compile);
  const alphaOf = await compilePatternMap(config.alphaPattern, config.loraAlpha, compile);
  return {
    isTargeted: (path) => !isExcluded(path) && isTarget(path),
    rankOf,
    alphaOf,
    scalingOf(path) {
      const rank = rankOf(path);
      return alphaOf(path) / (config.useRslora ? Math.sqrt(rank) : rank);
    },
  };
}

type NameTest = (path: string) => boolean;
type Compile = (pattern: string) => Promise<PythonRegex>;

async function compileTargets(
  { targetModules = DEFAULT_TARGETS }: PeftConfig,
  compile: Compile,
  isInLayers: NameTest,
): Promise<NameTest> {
  if (typeof targetModules !== "string") {
    // A full name is targeted in any layer.
    return (path) =>
      targetModules.includes(path) || (endsWithAny(targetModules, path) && isInLayers(path));
  }
  // PEFT replaces the word by the names of all linear layers before it matches.
  if (targetModules.toLowerCase() === "all-linear") {
    return (path) => path !== OUTPUT_LAYER && path !== EMBEDDING;
  }
  const regex = await compile(targetModules);
  return (path) => regex.fullMatch(path);
}

async function compileExclusions(config: PeftConfig, compile: Compile): Promise<NameTest> {
  const { excludeModules = [], modulesToSave } = config;
  const saved: PythonRegex[] = [];
  for (const name of modulesToSave) saved.push(await compile(`(^|.*\\.)${name}($|\\..*)`));
  const isSaved: NameTest = (path) => saved.some((regex) => regex.matchStart(path));
  if (typeof excludeModules !== "string") {
    return (path) =>
      excludeModules.includes(path) || endsWithAny(excludeModules, path) || isSaved(path);
  }
  if (excludeModules === "") return isSaved;
  const regex = await compile(excludeModules);
  return (path) => regex.fullMatch(path) || isSaved(path);
}

function endsWithAny(names: readonly string[], path: string): boolean {
  return names.some((name) => path.endsWith(`.${name}`));
}

function compileLayers(config: PeftConfig, where: string): NameTest {
  const { layersToTransform, layersPattern } = config;
  if (layersToTransform === undefined || layersToTransform.length === 0) return () => true;
  const indices = new Set(layersToTransform);
  const regexes =
    layersPattern.length === 0
      ? [/^.*?\.[^.]*\.(\d+)\./]
      : layersPattern.map((name) => compileListName(name, where));
  return (path) => {
    for (const regex of regexes) {
      const match = regex.exec(path);
      if (match !== null) return indices.has(Number(match[1]));
    }
    return false;
  };
}

/** Finds the first number after a module list's name. As in PEFT, `.` stands for any character. */
function compileListName(name: string, where: string): RegExp {
  if (/^[\w.-]{1,256}$/.test(name)) return new RegExp(`^(?:|.*?\\.)${name}\\.(\\d+)\\.`);
  throw new TureenError("ADAPTER_UNSUPPORTED", "layers_pattern with a regular expression", {
    expected: "names of module lists, such as layers",
    found: JSON.stringify(name.slice(0, 80)),
    where,
  });
}

/** The value of the first key that matches the end of a name, at a dot; else the default. */
async function compilePatternMap(
  patterns: ReadonlyMap<string, number>,
  defaultValue: number,
  compile: Compile,
): Promise<(path: string) => number> {
  const tests: { readonly matches: NameTest; readonly value: number }[] = [];
  for (const [key, value] of patterns) {
    tests.push({ matches: await compileKey(key, compile), value });
  }
  return (path) =>
    tests.find(({ matches }) => matches(path))?.value ?? patterns.get(path) ?? defaultValue;
}

/** `re.match(rf"(.*\.)?({key})$", path)`. Most keys are plain names, and there may be one for every layer. */
async function compileKey(key: string, compile: Compile): Promise<NameTest> {
  if (!/^[\w.-]+$/.test(key)) {
    const regex = await compile(`(.*\\.)?(${key})$`);
    return (path) => regex.matchStart(path);
  }
  return (path) => {
    const start = path.length - key.length;
    if (start < 0 || (start > 0 && path[start - 1] !== ".")) return false;
    for (let i = key.length - 1; i >= 0; i--) {
      if (key[i] !== "." && key[i] !== path[start + i]) return false;
    }
    return true;
  };
}
