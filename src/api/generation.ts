// One text being generated, as its reader sees it: a stream of text, a stream of chunks, or the whole. Nothing runs until it
// is read.
import {
  type FinishReason,
  type GenerationChunk,
  type GenerationResult,
  generateTokens,
  type StepModel,
} from "../generate/generate.ts";
import type { GenerateOptions } from "../generate/options.ts";
import type { SampledToken } from "../generate/sampler.ts";
import type { Session } from "../generate/session.ts";
import type { OpenSession } from "../generate/session-pool.ts";
import type { PassCosts } from "../generate/speculator.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Soup } from "../soup/soup.ts";
import type { SoupWeights } from "../soup/weights.ts";
import { createTextDecoder, type TextTools } from "./text-tools.ts";

/** How to generate a text: soup, cache, sampling, limits. */
export interface GenerateTextOptions extends GenerateOptions {
  /** Weights, or a soup made by `model.soup`, which may be re-weighted meanwhile. Default: the base alone. */
  readonly soup?: Soup | SoupWeights | undefined;
  /** A cache to begin from and leave behind, for conversations. Default: one of the model's own. */
  readonly session?: Session | undefined;
}

/** Where the time of a generation went. */
export interface GenerationTimings {
  /** Prompt tokens found in the session's cache. */
  readonly cachedTokens: number;
  /** Until the first logits. */
  readonly prefillMs: number;
  /** Prompt tokens computed, by that time. */
  readonly prefillTokensPerSecond: number;
  /** After the first logits. */
  readonly decodeMs: number;
  /** Tokens after the first, by that time; 0 if there were none. */
  readonly decodeTokensPerSecond: number;
  /** Forward passes. Fewer than tokens where expected tokens were run ahead. */
  readonly passes: number;
}

/** A finished text. */
export interface GeneratedText {
  /** Without stop strings and stop tokens. */
  readonly text: string;
  /** With the stop token, or those that completed a stop string, at the end. */
  readonly tokenIds: readonly number[];
  readonly promptTokenIds: readonly number[];
  /** `stop`, `length` (maxTokens), `context` (the context is full) or `abort` (signal, or the reader left). */
  readonly finishReason: FinishReason;
  /** The stop string or stop token that ended it. */
  readonly stoppedBy?: string | number | undefined;
  /** Gives the same text again. */
  readonly seed?: number | undefined;
  /** One per token, only with option `logprobs`. */
  readonly logprobs?: readonly SampledToken[] | undefined;
  readonly timings: GenerationTimings;
}

/** @internal */
export interface GenerationParts {
  readonly text: TextTools;
  readonly config: ModelConfig;
  readonly promptTokenIds: () => number[];
  readonly soup: Soup | undefined;
  readonly options: GenerateTextOptions;
  /** What passes of this model cost; `undefined` where a row's bits depend on the number of rows, and so nothing is run ahead. */
  readonly costs: PassCosts | undefined;
  /** @param length positions that the text needs at most */
  readonly openSession: (length: number) => OpenSession;
}

/**
 * A text being generated. Read it once, in one of three ways:
 *
 *     for await (const text of generation) …            // text, as it becomes certain
 *     for await (const chunk of generation.chunks()) …  // with token ids and log probabilities
 *     const { text } = await generation.result();       // all at once
 *
 * `result()` may also be awaited after, or while, one of the others is read. Leaving a loop early ends the generation.
 */
export class Generation implements AsyncIterable<string> {
  readonly #parts: GenerationParts;
  readonly #chunks: AsyncGenerator<GenerationChunk, void, undefined>;
  readonly #result: Promise<GeneratedText>;
  #settle!: { resolve: (result: GeneratedText) => void; reject: (error: unknown) => void };
  #started = false;

  /** @internal use `model.generate()` */
  constructor(parts: GenerationParts) {
    this.#parts = parts;
    this.#result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#result.catch(() => {}); // whoever reads the chunks sees the error
    this.#chunks = this.#run();
  }

  /** Pieces of text that are certain: never half a character, never a piece of a stop string. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for await (const { text } of this.chunks()) if (text !== "") yield text;
  }

  /** One chunk per token, and perhaps one of the text that was held back. */
  chunks(): AsyncGenerator<GenerationChunk, void, undefined> {
    this.#started = true;
    return this.#chunks;
  }

  /**
   * The finished text; generates it if nobody is reading.
   * @throws TureenError what ended the generation
   */
  async result(): Promise<GeneratedText> {
    if (!this.#started) for await (const _ of this.chunks());
    return this.#result;
  }

  async *#run(): AsyncGenerator<GenerationChunk, void, undefined> {
    const { text: tools, config, soup, options, openSession } = this.#parts;
    let promptTokenIds: number[];
    let opened: OpenSession;
    try {
      promptTokenIds = this.#parts.promptTokenIds();
      opened = openSession(promptTokenIds.length + countNew(options));
    } catch (error) {
      this.#settle.reject(error);
      throw error;
    }
    const { session, close } = opened;
    const cachedTokens = session.rewind(promptTokenIds);
    const step = new TimedSession(session, soup, config.vocabSize);
    const soFar = { text: "", tokenIds: [] as number[], logprobs: [] as SampledToken[] };
    const finish = (result: Partial<GenerationResult>): void => {
      const { stoppedBy, seed, logprobs } = result;
      this.#settle.resolve({
        text: result.text ?? soFar.text,
        tokenIds: result.tokenIds ?? soFar.tokenIds,
        promptTokenIds,
        finishReason: result.finishReason ?? "abort",
        ...(stoppedBy === undefined ? {} : { stoppedBy }),
        ...(seed === undefined ? {} : { seed }),
        ...(logprobs === undefined ? {} : { logprobs }),
        timings: step.timings(cachedTokens, promptTokenIds.length, soFar.tokenIds.length),
      });
    };
    try {
      const input = {
        promptIds: promptTokenIds.slice(cachedTokens),
        contextIds: promptTokenIds.slice(0, cachedTokens),
        vocabSize: config.vocabSize,
        eosTokenIds: config.eosTokenIds,
        decoder: createTextDecoder(tools, promptTokenIds, options.specialTokens ?? false),
        costs: this.#parts.costs,
      };
      const tokens = generateTokens(step, input, options);
      let next = await tokens.next();
      while (next.done !== true) {
        soFar.text += next.value.text;
        soFar.tokenIds.push(...next.value.tokenIds);
        yield next.value;
        next = await tokens.next();
      }
      finish(next.value);
    } catch (error) {
      this.#settle.reject(error);
      throw error;
    } finally {
      close();
      finish({}); // the reader left; without effect if it is settled
    }
  }
}

/** New tokens at most; an option that is invalid is refused later. */
function countNew({ maxTokens }: GenerateOptions): number {
  return typeof maxTokens === "number" && maxTokens >= 0 ? maxTokens : Number.POSITIVE_INFINITY;
}

/** The session as the generation loop sees it, with a watch. */
class TimedSession implements StepModel {
  readonly #session: Session;
  readonly #soup: Soup | undefined;
  readonly #vocabSize: number;
  #logits: Float32Array;
  #passes = 0;
  #prefillMs = 0;
  #firstAt = 0;
  #lastAt = 0;

  constructor(session: Session, soup: Soup | undefined, vocabSize: number) {
    this.#session = session;
    this.#soup = soup;
    this.#vocabSize = vocabSize;
    this.#logits = new Float32Array(vocabSize);
  }

  async forward(
    ids: readonly number[],
    rows: number,
    signal?: AbortSignal,
    best?: number,
  ): Promise<Float32Array> {
    const start = performance.now();
    const size = rows * this.#vocabSize;
    if (size > this.#logits.length) this.#logits = new Float32Array(size);
    const logits = this.#logits.subarray(0, size);
    await this.#session.forward(ids, this.#soup, logits, signal, best);
    this.#lastAt = performance.now();
    if (this.#passes++ === 0) {
      this.#firstAt = this.#lastAt;
      this.#prefillMs = this.#lastAt - start;
    }
    return logits;
  }

  async greedy(
    ids: readonly number[],
    count: number,
    signal?: AbortSignal,
  ): Promise<{ logits: Float32Array; tokens: readonly number[] } | undefined> {
    if (!this.#session.canRunAhead) return undefined;
    const size = count * this.#vocabSize;
    if (size > this.#logits.length) this.#logits = new Float32Array(size);
    const logits = this.#logits.subarray(0, size);
    const tokens: number[] = [];
    await this.#session.forward(ids, this.#soup, logits, signal, 1, { ahead: count - 1, tokens });
    this.#lastAt = performance.now();
    this.#passes += Math.max(1, tokens.length);
    return { logits, tokens };
  }

  takeBack(n: number): void {
    this.#session.takeBack(n);
  }

  isCurrent(): boolean {
    return this.#session.isCurrent(this.#soup);
  }

  remaining(): number {
    return this.#session.length - this.#session.tokens.length;
  }

  timings(cachedTokens: number, promptTokens: number, outputTokens: number): GenerationTimings {
    const prefillMs = this.#prefillMs;
    const decodeMs = this.#lastAt - this.#firstAt;
    const passes = this.#passes;
    return {
      cachedTokens,
      prefillMs,
      prefillTokensPerSecond: rate(passes > 0 ? promptTokens - cachedTokens : 0, prefillMs),
      decodeMs,
      decodeTokensPerSecond: rate(Math.max(0, outputTokens - 1), decodeMs),
      passes,
    };
  }
}

function rate(count: number, ms: number): number {
  return ms > 0 ? (count * 1000) / ms : 0;
}
