// The generation loop: prompt in, tokens and text out. Neutral of host and model: it sees a model as a function from tokens to
// logits and a tokenizer as a streaming decoder. Sessions, soups and prompts are its callers' business.
import { TureenError } from "../errors.ts";
import type { StreamDecoder } from "../model/tokenizer.ts";
import { nextTask } from "../next-task.ts";
import { type GenerateOptions, resolveGeneration } from "./options.ts";
import { type SampledToken, Sampler } from "./sampler.ts";
import { PassCosts, Speculator } from "./speculator.ts";
import { StopScanner } from "./stop-scanner.ts";

/** A model with a place in a context. */
export interface StepModel {
  /**
   * Appends tokens to the context.
   * @param best how many of the best logits of each row matter, default all; others may be -Infinity
   * @returns logits [rows, vocabSize] after each of the last `rows`; may be overwritten by the next call
   */
  forward(
    ids: readonly number[],
    rows: number,
    signal?: AbortSignal,
    best?: number,
  ): Promise<Float32Array>;
  /**
   * As `forward`, then further steps with the best token of each one before, where the backend chooses it: the steps overlap.
   * @param count rows, at least 2; fewer may come back
   * @returns logits [tokens.length, vocabSize], of which the best is right, and that best; all tokens but the last are in the
   * context. No tokens: only the first row was run. `undefined`: nothing was
   */
  greedy?(
    ids: readonly number[],
    count: number,
    signal?: AbortSignal,
  ): Promise<{ logits: Float32Array; tokens: readonly number[] } | undefined>;
  /** Takes the last n tokens out of the context again. */
  takeBack(n: number): void;
  /** Whether `forward` would give the same as last time: its weights have not changed. */
  isCurrent(): boolean;
  /** Tokens that still fit into the context. */
  remaining(): number;
}

/**
 * Why generation ended: a stop string or stop token (`stop`), maxTokens (`length`), a full context (`context`), or the
 * caller's signal (`abort`).
 */
export type FinishReason = "stop" | "length" | "context" | "abort";

/** What `generateTokens` needs beside the model. */
export interface GenerationInput {
  /** Tokens to append first, at least one. */
  readonly promptIds: readonly number[];
  /** Tokens already in the context: they count for the repetition penalty. */
  readonly contextIds?: readonly number[];
  /** Logits per token. */
  readonly vocabSize: number;
  /** The model's end-of-text tokens. */
  readonly eosTokenIds: readonly number[];
  /** Turns the output into text; a fresh one. */
  readonly decoder: StreamDecoder;
  /** What passes cost, as far as known. Without it no token is run ahead. */
  readonly costs?: PassCosts | undefined;
}

/** One token and the text that became certain with it; the last chunk may have text alone. */
export interface GenerationChunk {
  /** May be empty: half a character, or the beginning of a stop string. */
  readonly text: string;
  readonly tokenIds: readonly number[];
  /** One per token, only with option `logprobs`. */
  readonly logprobs?: readonly SampledToken[];
}

/** A finished generation. */
export interface GenerationResult {
  /** All chunks' text: without stop strings and stop tokens. */
  readonly text: string;
  /** All chunks' tokens: with the stop token, or those that completed a stop string, at the end. */
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  /** The stop string or stop token that ended it. */
  readonly stoppedBy?: string | number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Forward passes. */
  readonly passes: number;
  /** Gives the same output again. */
  readonly seed: number;
  /** One per token, only with option `logprobs`. */
  readonly logprobs?: readonly SampledToken[];
}

/**
 * Generates until a stop, the limit, the context's end or the signal. Each token but the last is appended to the model's
 * context. An aborted generation returns what it has, with finish reason `abort`.
 *
 * @throws TureenError `OPTION_INVALID`; `PROMPT_TOO_LONG` if the prompt does not fit; `TOKEN_OUT_OF_RANGE`; and what `forward` throws
 */
export async function* generateTokens(
  model: StepModel,
  input: GenerationInput,
  options: GenerateOptions = {},
): AsyncGenerator<GenerationChunk, GenerationResult, undefined> {
  const resolved = resolveGeneration(options, input.vocabSize);
  const { maxTokens, signal } = resolved;
  checkPrompt(input, model.remaining());
  const sampler = new Sampler({ ...options, seed: resolved.seed }, input.vocabSize);
  const ahead = new Speculator(input.costs && resolved.speculation, input.costs ?? new PassCosts());
  for (const ids of [input.contextIds ?? [], input.promptIds]) {
    sampler.observe(ids);
    ahead.begin(ids);
  }
  const scanner = new StopScanner(resolved.stop);
  const stopTokens = new Set(resolved.stopTokens);
  if (!resolved.ignoreEos) for (const id of input.eosTokenIds) stopTokens.add(id);

  let text = "";
  const tokenIds: number[] = [];
  const logprobs: SampledToken[] = [];
  let stoppedBy: string | number | undefined;
  let finishReason: FinishReason | undefined = maxTokens === 0 ? "length" : undefined;
  let next = input.promptIds;
  let passes = 0;
  let passMs = Number.POSITIVE_INFINITY;
  const breather = new Breather();

  while (finishReason === undefined) {
    await breather.rest();
    const room = Math.min(model.remaining() - next.length, maxTokens - tokenIds.length - 1);
    let expected: readonly number[] = passes === 0 ? [] : ahead.guess(room);
    let rows = 1 + expected.length;
    const isSteady = passes > 0 && model.isCurrent(); // or all of the text may be run again
    const start = performance.now();
    const ids = [...next, ...expected];
    const overlap = rows > 1 || sampler.best !== 1 ? 1 : Math.min(1 + room, overlapOf(passMs));
    const run = await runUnlessAborted(signal, async () => {
      const steps = overlap > 1 ? await model.greedy?.(ids, overlap, signal) : undefined;
      if (steps === undefined) {
        return { logits: await model.forward(ids, rows, signal, sampler.best), tokens: [] };
      }
      return steps;
    });
    const logits = run?.logits;
    if (logits === undefined) {
      finishReason = "abort";
      break;
    }
    const { tokens } = run!;
    if (tokens.length > 1) {
      expected = tokens.slice(0, -1);
      rows = tokens.length;
    }
    passMs = passes === 0 ? passMs : (performance.now() - start) / rows;
    passes += Math.max(1, tokens.length);
    if (isSteady) input.costs?.observe(rows, performance.now() - start);
    let used = 0;
    try {
      // As long as the text goes as expected, the next row has its logits.
      while (used < rows && finishReason === undefined) {
        if (used > 0 && (signal?.aborted === true || !model.isCurrent())) break;
        const row = logits.subarray(used * input.vocabSize, (used + 1) * input.vocabSize);
        const sampled = sampler.sample(row);
        const { token } = sampled;
        sampler.accept(token);
        ahead.push(token);
        tokenIds.push(token);
        next = [token];
        const unused = rows - ++used;

        let piece = "";
        if (stopTokens.has(token)) {
          finishReason = "stop";
          stoppedBy = token;
        } else {
          const scanned = scanner.push(input.decoder.push(token));
          piece = scanned.text;
          stoppedBy = scanned.stopped;
          if (stoppedBy !== undefined) finishReason = "stop";
          else if (tokenIds.length >= maxTokens) finishReason = "length";
          else if (model.remaining() + unused < 1) finishReason = "context";
        }
        text += piece;
        if (resolved.logprobs < 0) {
          yield { text: piece, tokenIds: [token] };
        } else {
          logprobs.push(sampled);
          yield { text: piece, tokenIds: [token], logprobs: [sampled] };
        }
        if (token !== expected[used - 1]) break;
      }
    } finally {
      model.takeBack(rows - used);
    }
  }
  if (typeof stoppedBy !== "string") {
    // What the decoder and the scanner held back; a stop string may complete with the decoder's last bytes.
    const scanned = scanner.push(input.decoder.flush());
    const rest = scanned.stopped === undefined ? scanned.text + scanner.flush() : scanned.text;
    if (scanned.stopped !== undefined) {
      finishReason = "stop";
      stoppedBy = scanned.stopped;
    }
    text += rest;
    if (rest !== "") yield { text: rest, tokenIds: [] };
  }
  return {
    text,
    tokenIds,
    finishReason,
    ...(stoppedBy === undefined ? {} : { stoppedBy }),
    promptTokens: input.promptIds.length,
    outputTokens: tokenIds.length,
    passes,
    seed: sampler.seed,
    ...(resolved.logprobs < 0 ? {} : { logprobs }),
  };
}

function checkPrompt({ promptIds, vocabSize }: GenerationInput, remaining: number): void {
  if (promptIds.length === 0) {
    throw new TureenError("OPTION_INVALID", "the prompt is empty", {
      expected: "at least one token",
      found: "none",
      hint: "Begin with the tokenizer's beginning-of-text token, or with any text.",
    });
  }
  const position = promptIds.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
  if (position >= 0) {
    throw new TureenError("TOKEN_OUT_OF_RANGE", "a token is outside the model's vocabulary", {
      expected: `0..${vocabSize - 1}`,
      found: String(promptIds[position]),
      where: `prompt position ${position}`,
    });
  }
  if (promptIds.length > remaining) {
    throw new TureenError("PROMPT_TOO_LONG", "the prompt does not fit into the context", {
      expected: `at most ${remaining} tokens`,
      found: String(promptIds.length),
      hint: "Shorten the prompt, or load the model with a larger contextLength.",
    });
  }
}

/** Steps that overlap: as many as fit a moment, so that neither a reader nor an abort waits. */
function overlapOf(passMs: number): number {
  return Math.max(1, Math.min(MOST_OVERLAP, Math.floor(OVERLAP_MS / passMs)));
}

async function runUnlessAborted<T>(
  signal: AbortSignal | undefined,
  run: () => Promise<T>,
): Promise<T | undefined> {
  if (signal?.aborted) return undefined;
  try {
    const result = await run();
    return signal?.aborted ? undefined : result;
  } catch (error) {
    if (error instanceof TureenError && error.code === "ABORTED" && signal?.aborted)
      return undefined;
    throw error;
  }
}

const OVERLAP_MS = 60;
const MOST_OVERLAP = 8;

// A backend that computes at once never returns to the event loop by itself: promises alone would keep timers, signals and
// rendering waiting until the generation ends.
const BREATH_MS = 50;

/** Returns to the host's event loop every 50 ms. */
class Breather {
  #last: number = performance.now();

  async rest(): Promise<void> {
    if (performance.now() - this.#last < BREATH_MS) return;
    await nextTask();
    this.#last = performance.now();
  }
}
