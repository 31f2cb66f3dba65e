// Runs the passes of all sequences of a model: those that wait at the same time go through the network together and share one
// read of its weights. Sequences join and leave between passes; a long prompt is run in pieces beside the others' next tokens.
// Every sequence gets the bits that it would get alone, so whether and how passes are shared shows in time only.
import type { KvCache } from "../backend/backend.ts";
import { throwIfAborted } from "../errors.ts";
import type { Decoder, PassPart } from "../model/decoder.ts";
import type { Banks } from "../model/row-banks.ts";
import { nextTask } from "../next-task.ts";

/** Tokens of one sequence that are to be run, and where they go. */
export interface Job {
  readonly ids: readonly number[];
  readonly position: number;
  readonly cache: KvCache;
  readonly banks: Banks;
  /** Receives the logits of as many of the last tokens as it has room for. */
  readonly logits: Float32Array | undefined;
  /** How many of the best logits matter; default: all. */
  readonly best?: number | undefined;
  /** See `PassPart`: done only where no other sequence shares the pass; then `tokens` is filled. */
  readonly ahead?: number | undefined;
  readonly tokens?: number[] | undefined;
}

/** Runs tasks that need the model for themselves, one at a time in the order of the calls. */
export interface Turns {
  run<T>(task: () => Promise<T>): Promise<T>;
  /** Whether a task waits for the running one to end. */
  readonly isAwaited: boolean;
}

/** What runs the passes: a decoder. */
export type PassRunner = Pick<Decoder, "config" | "chunkSize" | "check" | "run">;

interface Request {
  readonly begin: () => Job;
  readonly signal: AbortSignal | undefined;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** Once it has begun. */
  job: Job | undefined;
  /** Tokens that have been run. */
  done: number;
}

/** Prompt tokens in a pass that others wait for: enough to pay for the read of the weights, few enough to keep them going. */
const SHARED_PROMPT_TOKENS = 32;
/** More tokens than this are a prompt. */
const SHORT = 16;
/** Share of a pass's time that it is worth to wait for sequences that are about to ask for their next one. */
const PATIENCE = 1 / 16;

export class Batcher {
  readonly #decoder: PassRunner;
  readonly #turns: Turns;
  readonly #requests: Request[] = [];
  #isRunning = false;
  /** Sequences that may ask for a pass at any moment. */
  #open = 0;
  #lastPassMs = 0;

  constructor(decoder: PassRunner, turns: Turns) {
    this.#decoder = decoder;
    this.#turns = turns;
  }

  /** Announces a sequence, so that passes wait a moment for it; the result takes it back. */
  open(): () => void {
    this.#open++;
    let isOpen = true;
    return () => {
      if (isOpen) this.#open--;
      isOpen = false;
    };
  }

  /**
   * Runs a sequence's next tokens.
   * @param begin called when they have their turn, in which no weights change until they have been run
   * @throws TureenError what `begin` throws, `TOKEN_OUT_OF_RANGE`, `PROMPT_TOO_LONG`, `ABORTED`, `DISPOSED`; other sequences go on
   */
  run(begin: () => Job, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#requests.push({ begin, signal, resolve, reject, job: undefined, done: 0 });
      this.#start();
    });
  }

  #start(): void {
    if (this.#isRunning || this.#requests.length === 0) return;
    this.#isRunning = true;
    const turn = this.#turns.run(() => this.#runAll());
    turn
      .catch((error: unknown) => {
        for (const { reject } of this.#requests.splice(0)) reject(error);
      })
      .finally(() => {
        this.#isRunning = false;
        this.#start();
      });
  }

  /** Until nobody waits, or another task does and all that has begun is done. */
  async #runAll(): Promise<void> {
    await this.#waitForOthers();
    while (this.#requests.length > 0) {
      this.#begin();
      const parts = this.#plan();
      if (parts.size > 0) await this.#pass(parts);
      if (!this.#requests.some(({ job }) => job !== undefined)) return;
      await nextTask(); // lets an abort in, and the host's other work
      await this.#waitForOthers();
    }
  }

  async #waitForOthers(): Promise<void> {
    const end = performance.now() + this.#lastPassMs * PATIENCE;
    while (this.#requests.length < this.#open) {
      await nextTask();
      if (performance.now() >= end) return;
    }
  }

  /** Lets requests begin, unless another task waits for the end of those that have; drops those that fail or were aborted. */
  #begin(): void {
    const isClosing = this.#turns.isAwaited && this.#requests.some(({ job }) => job !== undefined);
    for (const request of [...this.#requests]) {
      try {
        throwIfAborted(request.signal);
        if (request.job !== undefined || isClosing) continue;
        const job = request.begin();
        this.#decoder.check(job.ids, job.position, job.cache);
        request.job = job;
      } catch (error) {
        this.#remove(request);
        request.reject(error);
      }
    }
  }

  /** The next pass: everybody's next token or few, then prompts in order of arrival as far as there is room. */
  #plan(): Map<Request, PassPart> {
    const begun = this.#requests.filter(({ job }) => job !== undefined);
    const left = ({ job, done }: Request): number => job!.ids.length - done;
    const parts = new Map<Request, PassPart>();
    let room = this.#decoder.chunkSize;
    for (const request of begun) {
      if (left(request) > Math.min(SHORT, room)) continue;
      parts.set(request, nextPart(request, left(request), this.#decoder.config.vocabSize));
      room -= left(request);
    }
    if (parts.size > 0) room = Math.min(room, SHARED_PROMPT_TOKENS);
    for (const request of begun) {
      if (parts.has(request) || room === 0) continue;
      const n = Math.min(room, left(request));
      parts.set(request, nextPart(request, n, this.#decoder.config.vocabSize));
      room -= n;
    }
    const [alone] = parts;
    if (parts.size === 1 && alone !== undefined) {
      const [request, part] = alone;
      const { ahead = 0, tokens, logits } = request.job!;
      const isWhole = part.ids.length === left(request);
      if (ahead > 0 && isWhole) parts.set(request, { ...part, ahead, tokens, logits });
    }
    return parts;
  }

  async #pass(parts: ReadonlyMap<Request, PassPart>): Promise<void> {
    const start = performance.now();
    let failure: { error: unknown } | undefined;
    try {
      await this.#decoder.run([...parts.values()]);
    } catch (error) {
      failure = { error };
    }
    this.#lastPassMs = performance.now() - start;
    for (const [request, { ids }] of parts) {
      request.done += ids.length;
      if (failure === undefined && request.done < request.job!.ids.length) continue;
      this.#remove(request);
      if (failure === undefined) request.resolve();
      else request.reject(failure.error);
    }
  }

  #remove(request: Request): void {
    this.#requests.splice(this.#requests.indexOf(request), 1);
  }
}

/** The next `n` tokens of a request, with the logits that fall on them. */
function nextPart({ job, done }: Request, n: number, vocabSize: number): PassPart {
  const { ids, position, cache, banks, best, ahead = 0 } = job!;
  // steps ahead are added where there is nobody else
  const logits = ahead > 0 ? job!.logits?.subarray(0, vocabSize) : job!.logits;
  const part = { position: position + done, cache, banks, best };
  if (n === ids.length) return { ...part, ids, logits };
  const chosen = ids.slice(done, done + n);
  if (logits === undefined) return { ...part, ids: chosen };
  const first = ids.length - logits.length / vocabSize; // token with the first logits
  const from = Math.max(0, done - first);
  const to = Math.max(0, done + n - first);
  return { ...part, ids: chosen, logits: logits.subarray(from * vocabSize, to * vocabSize) };
}
