// How well a blend does on examples: answers that match, and how probable the right ones were. Runs one example after another
// on a loaded model, whose cache serves both.
import type { Model } from "../api/model.ts";
import { TureenError, throwIfAborted } from "../errors.ts";
import type { Session } from "../generate/session.ts";
import type { TrainingExample } from "../learn/backward.ts";
import { type LearningExample, type LocatedExample, readDataSet } from "../learn/data.ts";
import { encodeExample } from "../learn/encode.ts";
import { exp, log } from "../math/exp.ts";
import { Soup } from "../soup/soup.ts";
import type { SoupWeights } from "../soup/weights.ts";
import { isMatch, NORMALIZERS, type NormalizerName } from "./normalizers.ts";

export interface EvaluateOptions {
  /** Default: the base alone. */
  readonly soup?: Soup | SoupWeights | undefined;
  /** When an answer counts as right. Default `exact`. */
  readonly normalizer?: NormalizerName | undefined;
  /** Of an answer. Default 128. */
  readonly maxTokens?: number | undefined;
  /** Texts that end an answer. */
  readonly stop?: readonly string[] | undefined;
  /** Examples so far, and in all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A blend on a set of examples. */
export interface Evaluation {
  /** Examples. */
  readonly examples: number;
  /** Those that ask for an answer: prompts with a completion, and chats that end with one. */
  readonly questions: number;
  /** Answers that match. */
  readonly correct: number;
  /** correct / questions in percent; `undefined` without questions. */
  readonly accuracy: number | undefined;
  /** Mean over examples of ln p(completion and end of text | prompt). */
  readonly logLikelihood: number;
  /** Mean of -ln p over all scored tokens. */
  readonly loss: number;
  /** Tokens that were scored. */
  readonly tokens: number;
  /** Generated tokens by the time that it took, without prompts; `undefined` if nothing was generated. */
  readonly tokensPerSecond: number | undefined;
}

/** Examples, ready to be run. */
export interface Task {
  readonly name: string;
  readonly examples: readonly TaskExample[];
}

interface TaskExample {
  readonly question: Question | undefined;
  readonly scored: TrainingExample;
}

interface Question {
  readonly prompt: string | readonly { role: string; content: string }[];
  readonly answer: string;
}

/**
 * Reads examples: `{ prompt, completion }` (or `answer`) and chats that end with the assistant are questions, and every example
 * is scored as learning scores it: completions and assistant turns with the end of text, texts in whole.
 * @param examples the text of a JSONL file, or what it would hold
 * @throws TureenError `FORMAT_INVALID`, naming the line; `TOKENIZER_INVALID`, `OPTION_INVALID` (chat template)
 */
export function readTask(
  model: Model,
  name: string,
  examples: string | readonly LearningExample[],
): Task {
  const options = { truncation: model.contextLength, scored: "completions" } as const;
  const toExample = (located: LocatedExample): TaskExample => ({
    question: toQuestion(located.example),
    scored: encodeExample(located, model.text, options),
  });
  return { name, examples: readDataSet({ name, examples }).map(toExample) };
}

/**
 * Greedy answers, and likelihoods of the right ones.
 * @throws TureenError `OPTION_INVALID`, `PROMPT_TOO_LONG`, `LOGITS_NOT_FINITE`, `ABORTED`, `DISPOSED`
 */
export async function evaluate(
  model: Model,
  task: Task,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { normalizer = "exact", maxTokens = 128, stop, signal, onProgress } = options;
  if (!Object.hasOwn(NORMALIZERS, normalizer)) {
    throw new TureenError("OPTION_INVALID", "option normalizer is invalid", {
      expected: Object.keys(NORMALIZERS).join(", "),
      found: String(normalizer),
    });
  }
  const soup = toSoup(model, options.soup);
  const session = model.createSession();
  const sums = { questions: 0, correct: 0, loss: 0, tokens: 0, decodeMs: 0, decoded: 0 };
  try {
    for (const [i, { question, scored }] of task.examples.entries()) {
      throwIfAborted(signal);
      if (question !== undefined) {
        const how = { soup, session, maxTokens, signal, ...(stop === undefined ? {} : { stop }) };
        const { text, finishReason, tokenIds, timings } = await model
          .generate(question.prompt, how)
          .result();
        sums.questions++;
        const ended = finishReason === "stop";
        if (isMatch(normalizer, text, question.answer, ended)) sums.correct++;
        sums.decoded += Math.max(0, tokenIds.length - 1); // the first comes with the prompt
        sums.decodeMs += timings.decodeMs;
      }
      const { loss, tokens } = await score(session, soup, scored, model, signal);
      sums.loss += loss;
      sums.tokens += tokens;
      onProgress?.(i + 1, task.examples.length);
    }
  } finally {
    session.dispose();
  }
  const { questions, correct, loss, tokens, decodeMs, decoded } = sums;
  return {
    examples: task.examples.length,
    questions,
    correct,
    accuracy: questions === 0 ? undefined : (100 * correct) / questions,
    logLikelihood: -loss / task.examples.length,
    loss: loss / tokens,
    tokens,
    tokensPerSecond: decodeMs === 0 ? undefined : (1000 * decoded) / decodeMs,
  };
}

/**
 * Mean loss per token of examples, without answering any.
 * @throws TureenError as `evaluate`
 */
export async function meanLoss(
  model: Model,
  task: Task,
  { soup, signal }: Pick<EvaluateOptions, "soup" | "signal"> = {},
): Promise<number> {
  const scoring = task.examples.map(({ scored }) => ({ question: undefined, scored }));
  return (await evaluate(model, { ...task, examples: scoring }, { soup, signal })).loss;
}

function toSoup(model: Model, soup: EvaluateOptions["soup"]): Soup | undefined {
  return soup === undefined || soup instanceof Soup ? soup : model.soup(soup);
}

function toQuestion(example: LearningExample): Question | undefined {
  if ("prompt" in example) return { prompt: example.prompt, answer: example.completion };
  if (!("messages" in example)) return undefined;
  const last = example.messages.at(-1);
  if (last?.role !== "assistant" || example.messages.length < 2) return undefined;
  return { prompt: example.messages.slice(0, -1), answer: last.content };
}

/** Logits held at once, in numbers: 4 MiB. A vocabulary larger than an eighth of it still gets 8 rows. */
const LOGITS_NUMBERS = 2 ** 20;
const MIN_ROWS = 8;

/** Σ -ln p over the scored tokens. What the session has of the prompt is not run again. */
async function score(
  session: Session,
  soup: Soup | undefined,
  { ids, weights }: TrainingExample,
  model: Model,
  signal: AbortSignal | undefined,
): Promise<{ loss: number; tokens: number }> {
  const { vocabSize } = model.config;
  const step = Math.max(MIN_ROWS, Math.floor(LOGITS_NUMBERS / vocabSize));
  const first = weights.findIndex((weight) => weight !== 0);
  const room = new Float32Array(Math.min(step, weights.length - first) * vocabSize);
  let loss = 0;
  let tokens = 0;
  const release = session.acquire();
  try {
    const kept = session.rewind(ids.slice(0, first + 1));
    if (kept < first) await session.forward(ids.slice(kept, first), soup, undefined, signal);
    for (let start = first; start < weights.length; start += step) {
      const end = Math.min(start + step, weights.length);
      const logits = room.subarray(0, (end - start) * vocabSize);
      await session.forward(ids.slice(start, end), soup, logits, signal);
      for (let t = start; t < end; t++) {
        if (weights[t] === 0) continue;
        const row = logits.subarray((t - start) * vocabSize, (t - start + 1) * vocabSize);
        loss += negativeLogProbability(row, ids[t + 1]!);
        tokens++;
      }
    }
  } finally {
    release();
  }
  return { loss, tokens };
}

function negativeLogProbability(logits: Float32Array, id: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of logits) if (value > max) max = value;
  let sum = 0;
  for (const value of logits) sum += exp(value - max);
  if (!Number.isFinite(sum)) {
    throw new TureenError("LOGITS_NOT_FINITE", "the model computed logits that are not finite", {
      hint: "The weights of the soup may be far too large.",
    });
  }
  return max + log(sum) - logits[id]!;
}
