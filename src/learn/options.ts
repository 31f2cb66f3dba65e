// The choices of a learning run, their defaults and their limits.
import { TureenError } from "../errors.ts";
import { SCHEDULES, type Schedule } from "./optimizer.ts";
import {
  GRANULARITIES,
  type Granularity,
  PARAMETRIZATIONS,
  type Parametrization,
} from "./parameters.ts";

/** Everything that decides which weights are learned, besides model, adapters and data. */
export interface HyperParameters {
  /** How weights follow from parameters. Default `softmax-k`; LoRA Soups' released code is `softmax`, its formula `free`. */
  readonly parametrization: Parametrization;
  /** What has weights of its own. Default `linear`: every linear layer */
  readonly granularity: Granularity;
  /** Whether the loss counts every example alike, or every token. Default `example` */
  readonly average: "token" | "example";
  /** What is predicted: completions and assistant turns (and whole texts), or every token. Default `completions` */
  readonly scored: "completions" | "all";
  /** Tokens of an example that are kept. Default 256, or what the model can take */
  readonly truncation: number;
  /** Share of each data set that is used, in (0, 1]. Default 1 */
  readonly fraction: number;
  /** Share of the used examples that is not learned from but watched, in [0, 0.9]. Default 0.1 */
  readonly validation: number;
  /** Passes over the data. Default 1 */
  readonly epochs: number;
  /** Examples whose gradients are gathered for one step. Default 6 */
  readonly batchSize: number;
  /** AdamW's, at its peak. Default 0.03 for `softmax-k` and `free`, 0.1 for `softmax` */
  readonly learningRate: number;
  /** How the learning rate falls. Default `linear` */
  readonly schedule: Schedule;
  /** Share of the steps in which the learning rate rises, in [0, 1]. Default 0.1 */
  readonly warmup: number;
  /** AdamW's, of the raw parameters. Default 0 */
  readonly weightDecay: number;
  /** Largest norm of a step's gradient; 0 for no limit. Default 1 */
  readonly clipNorm: number;
  /** How often the validation loss is computed, evenly over the run. Default 10 times */
  readonly evaluations: number;
  /** Evaluations without a better validation loss after which learning stops. Default 5 */
  readonly patience: number;
  /** Of sampling, split and order. 0..2^53-1, default 0 */
  readonly seed: number;
}

const LEARNING_RATES: Readonly<Record<Parametrization, number>> = {
  softmax: 0.1,
  "softmax-k": 0.03,
  free: 0.03,
};

/**
 * Fills in defaults.
 * @param maxTokens what the model can take
 * @throws TureenError `OPTION_INVALID`, naming the option
 */
export function resolveHyperParameters(
  given: Partial<HyperParameters>,
  maxTokens: number,
): HyperParameters {
  const { parametrization = "softmax-k" } = given;
  choice("parametrization", parametrization, PARAMETRIZATIONS);
  const resolved: HyperParameters = {
    parametrization,
    granularity: given.granularity ?? "linear",
    average: given.average ?? "example",
    scored: given.scored ?? "completions",
    truncation: given.truncation ?? Math.min(256, maxTokens),
    fraction: given.fraction ?? 1,
    validation: given.validation ?? 0.1,
    epochs: given.epochs ?? 1,
    batchSize: given.batchSize ?? 6,
    learningRate: given.learningRate ?? LEARNING_RATES[parametrization],
    schedule: given.schedule ?? "linear",
    warmup: given.warmup ?? 0.1,
    weightDecay: given.weightDecay ?? 0,
    clipNorm: given.clipNorm ?? 1,
    evaluations: given.evaluations ?? 10,
    patience: given.patience ?? 5,
    seed: given.seed ?? 0,
  };
  choice("granularity", resolved.granularity, GRANULARITIES);
  choice("average", resolved.average, ["token", "example"]);
  choice("scored", resolved.scored, ["completions", "all"]);
  choice("schedule", resolved.schedule, SCHEDULES);
  integer("truncation", resolved.truncation, 2, maxTokens);
  number("fraction", resolved.fraction, 0, 1);
  if (resolved.fraction === 0) throw invalid("fraction", "more than 0", 0);
  number("validation", resolved.validation, 0, 0.9);
  integer("epochs", resolved.epochs, 1, 1_000_000);
  integer("batchSize", resolved.batchSize, 1, 1_000_000);
  number("learningRate", resolved.learningRate, 0, Number.MAX_VALUE);
  number("warmup", resolved.warmup, 0, 1);
  number("weightDecay", resolved.weightDecay, 0, 1);
  number("clipNorm", resolved.clipNorm, 0, Number.MAX_VALUE);
  integer("evaluations", resolved.evaluations, 1, 1_000_000);
  integer("patience", resolved.patience, 1, Number.MAX_SAFE_INTEGER);
  integer("seed", resolved.seed, 0, Number.MAX_SAFE_INTEGER);
  return resolved;
}

function choice(name: string, value: unknown, choices: readonly string[]): void {
  if (!choices.includes(value as string)) throw invalid(name, choices.join(", "), value);
}

function integer(name: string, value: unknown, min: number, max: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return;
  const limit = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`;
  throw invalid(name, `a whole number, ${limit}`, value);
}

function number(name: string, value: unknown, min: number, max: number): void {
  if (typeof value === "number" && value >= min && value <= max) return; // NaN is neither
  throw invalid(
    name,
    max === Number.MAX_VALUE ? `a number of ${min} or more` : `${min} to ${max}`,
    value,
  );
}

function invalid(name: string, expected: string, found: unknown): TureenError {
  return new TureenError("OPTION_INVALID", `option ${name} is invalid`, {
    expected,
    found: String(found),
  });
}
