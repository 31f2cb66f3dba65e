// What a caller may ask of one generation, with defaults and checks. Sampling itself is in sampler.ts, the loop in generate.ts.
import { TureenError } from "../errors.ts";

/**
 * How the next token is chosen. Transforms run in this order: logit bias, repetition penalty, presence and frequency penalty,
 * temperature, top-k, top-p, min-p; each sees what the one before left (the order of transformers' `generate`).
 */
export interface SamplingOptions {
  /** 0 or more. 0 (default) is greedy: the token with the highest logit, the lowest id among equals. */
  readonly temperature?: number | undefined;
  /** Keep the k most probable tokens. 0 (default) keeps all. Only with temperature above 0, like topP and minP. */
  readonly topK?: number | undefined;
  /** Keep the fewest most probable tokens whose probabilities sum to at least this, in (0, 1]. Default 1: all. */
  readonly topP?: number | undefined;
  /** Keep tokens at least this times as probable as the most probable one, in 0..1. Default 0: all. */
  readonly minP?: number | undefined;
  /** Above 0; 1 (default) is off. Logits of tokens in prompt or output: divided by it if positive, multiplied if negative (CTRL, arXiv 1909.05858). */
  readonly repetitionPenalty?: number | undefined;
  /** Subtracted once from the logit of every token in the output. Default 0. (OpenAI) */
  readonly presencePenalty?: number | undefined;
  /** Subtracted from a token's logit for each of its occurrences in the output. Default 0. (OpenAI) */
  readonly frequencyPenalty?: number | undefined;
  /** Integer in 0..2^53-1. The same seed gives the same tokens on every host. Default: drawn at random, and reported in the result. */
  readonly seed?: number | undefined;
  /** Added to logits, by token id. `-Infinity` forbids a token. */
  readonly logitBias?: Readonly<Record<number, number>> | undefined;
  /**
   * Report the natural logarithm of each chosen token's probability, and this many of the most probable alternatives (0: none).
   * They are of the model's own distribution, before any transform. Default: not reported.
   */
  readonly logprobs?: number | undefined;
}

/** How far expected tokens are run ahead of the text. */
export interface SpeculationOptions {
  /** Tokens ahead in one pass at most, in 1..15. Default 15. */
  readonly tokens?: number | undefined;
  /** Tokens at the text's end that must have occurred before, in 1..8. Default 2. */
  readonly ngram?: number | undefined;
}

/** One generation. */
export interface GenerateOptions extends SamplingOptions {
  /** New tokens at most, the final stop token included. Default: until the context is full. */
  readonly maxTokens?: number | undefined;
  /** Generation ends before the first of these texts that completes; it is not part of the output. */
  readonly stop?: string | readonly string[] | undefined;
  /** Token ids that end generation, besides the model's own end-of-text tokens. */
  readonly stopTokens?: readonly number[] | undefined;
  /** Go on through the model's end-of-text tokens. Default false. */
  readonly ignoreEos?: boolean | undefined;
  /** Print special tokens, other than stopping ones, into the text. Default false. */
  readonly specialTokens?: boolean | undefined;
  /**
   * Run tokens ahead that are expected because the text's end occurred before in it ("prompt lookup"). Changes nothing but speed,
   * and is done only where it was seen to pay. Default true.
   */
  readonly speculation?: boolean | SpeculationOptions | undefined;
  /** Ends the generation with finish reason `abort`. */
  readonly signal?: AbortSignal | undefined;
}

/** Sampling options with every default filled in. */
export interface ResolvedSampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly seed: number;
  readonly logitBias: readonly (readonly [id: number, bias: number])[];
  /** -1: not reported. */
  readonly logprobs: number;
}

export interface ResolvedSpeculation {
  readonly tokens: number;
  readonly ngram: number;
}

/** Generation options with every default filled in. */
export interface ResolvedGeneration extends ResolvedSampling {
  readonly maxTokens: number;
  readonly stop: readonly string[];
  readonly stopTokens: readonly number[];
  readonly ignoreEos: boolean;
  readonly specialTokens: boolean;
  /** `undefined`: off. */
  readonly speculation: ResolvedSpeculation | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * Checks sampling options and fills in defaults.
 * @param vocabSize logits per token
 * @throws TureenError `OPTION_INVALID` naming the option and its value
 */
export function resolveSampling(options: SamplingOptions, vocabSize: number): ResolvedSampling {
  return {
    temperature: number(options, "temperature", 0, (x) => x >= 0, "a number of 0 or more"),
    topK: number(options, "topK", 0, isCount, "a whole number of 0 or more"),
    topP: number(options, "topP", 1, (x) => x > 0 && x <= 1, "a number above 0, up to 1"),
    minP: number(options, "minP", 0, (x) => x >= 0 && x <= 1, "a number in 0..1"),
    repetitionPenalty: number(options, "repetitionPenalty", 1, (x) => x > 0, "a number above 0"),
    presencePenalty: number(options, "presencePenalty", 0, () => true, "a finite number"),
    frequencyPenalty: number(options, "frequencyPenalty", 0, () => true, "a finite number"),
    seed:
      options.seed === undefined
        ? drawSeed()
        : number(options, "seed", 0, isCount, "a whole number in 0..2^53-1"),
    logitBias: resolveBias(options.logitBias, vocabSize),
    logprobs: number(
      options,
      "logprobs",
      -1,
      (x) => isCount(x) && x <= vocabSize,
      `a whole number in 0..${vocabSize}`,
    ),
  };
}

/**
 * Checks all options of a generation and fills in defaults.
 * @param vocabSize logits per token
 * @throws TureenError `OPTION_INVALID` naming the option and its value
 */
export function resolveGeneration(options: GenerateOptions, vocabSize: number): ResolvedGeneration {
  const { maxTokens, stop = [], stopTokens = [], signal } = options;
  return {
    ...resolveSampling(options, vocabSize),
    maxTokens:
      maxTokens === undefined || maxTokens === Number.POSITIVE_INFINITY
        ? Number.POSITIVE_INFINITY
        : number(options, "maxTokens", 0, isCount, "a whole number of 0 or more"),
    stop: resolveStop(stop),
    stopTokens: resolveIds(stopTokens, vocabSize),
    ignoreEos: boolean(options, "ignoreEos"),
    specialTokens: boolean(options, "specialTokens"),
    speculation: resolveSpeculation(options.speculation ?? true),
    signal,
  };
}

const isCount = (x: number): boolean => Number.isSafeInteger(x) && x >= 0;

function number<K extends string>(
  options: { readonly [key in K]?: unknown },
  name: K,
  fallback: number,
  accepts: (value: number) => boolean,
  expected: string,
): number {
  const value = options[name];
  if (value === undefined) return fallback;
  if (typeof value === "number" && Number.isFinite(value) && accepts(value)) return value;
  throw invalid(name, expected, value);
}

function boolean<K extends string>(options: { readonly [key in K]?: unknown }, name: K): boolean {
  const value = options[name] ?? false;
  if (typeof value === "boolean") return value;
  throw invalid(name, "true or false", value);
}

function resolveSpeculation(
  option: NonNullable<GenerateOptions["speculation"]>,
): ResolvedSpeculation | undefined {
  if (option === false) return undefined;
  if (option !== true && (typeof option !== "object" || Array.isArray(option))) {
    throw invalid("speculation", "true, false, or { tokens, ngram }", option);
  }
  const options = option === true ? {} : option;
  const within = (max: number) => (x: number) => isCount(x) && x >= 1 && x <= max;
  return {
    tokens: number(options, "tokens", 15, within(15), "a whole number in 1..15"),
    ngram: number(options, "ngram", 2, within(8), "a whole number in 1..8"),
  };
}

function resolveBias(
  bias: Readonly<Record<number, number>> | undefined,
  vocabSize: number,
): [number, number][] {
  if (bias === undefined) return [];
  if (typeof bias !== "object" || bias === null || Array.isArray(bias)) {
    throw invalid("logitBias", "an object of token id to bias", bias);
  }
  return Object.entries(bias).map(([key, value]) => {
    const id = Number(key);
    if (!isCount(id) || id >= vocabSize) {
      throw invalid("logitBias", `token ids in 0..${vocabSize - 1}`, key);
    }
    const usable = typeof value === "number" && value < Number.POSITIVE_INFINITY;
    if (!usable) throw invalid(`logitBias[${key}]`, "a finite number or -Infinity", value);
    return [id, value];
  });
}

function resolveStop(stop: unknown): string[] {
  const list: unknown = typeof stop === "string" ? [stop] : stop;
  if (!Array.isArray(list)) throw invalid("stop", "a string or a list of strings", stop);
  for (const text of list) {
    // A lone surrogate is no text: it could only match half a character.
    if (typeof text !== "string" || text === "" || /\p{Surrogate}/u.test(text)) {
      throw invalid("stop", "non-empty, well-formed strings", text);
    }
  }
  return [...list];
}

function resolveIds(ids: unknown, vocabSize: number): number[] {
  if (!Array.isArray(ids)) throw invalid("stopTokens", "a list of token ids", ids);
  for (const id of ids) {
    if (!isCount(id) || id >= vocabSize) {
      throw invalid("stopTokens", `token ids in 0..${vocabSize - 1}`, id);
    }
  }
  return [...ids];
}

function drawSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}

function invalid(name: string, expected: string, value: unknown): TureenError {
  const printed = typeof value === "string" ? JSON.stringify(value) : String(value);
  const found = printed.length > 80 ? `${printed.slice(0, 80)}…` : printed;
  return new TureenError("OPTION_INVALID", `option ${name} is invalid`, { expected, found });
}
