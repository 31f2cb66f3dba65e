// Requests that survive bad networks: back-off, `Retry-After`, silence that ends in another attempt. Knows nothing of what is
// asked for.
import { TureenError, throwIfAborted } from "../errors.ts";

/** How patient requests are. Tests are less so. */
export interface TransportOptions {
  readonly fetch?: typeof fetch | undefined;
  /** Before attempts 2, 3, …, in ms. As many attempts without a byte of progress end in an error. Each is stretched at random by up to a quarter. */
  readonly delays?: readonly number[] | undefined;
  /** Silence after which an attempt is given up, in ms. */
  readonly patience?: number | undefined;
  /** Longest `Retry-After` that is waited for, in ms. */
  readonly maxRetryAfter?: number | undefined;
}

const DELAYS: readonly number[] = [500, 1000, 2000, 4000, 8000];
const PATIENCE = 30_000;
const MAX_RETRY_AFTER = 120_000;

/** A failure that another attempt may cure. Leaves the transport only as the error in it. */
export class Transient {
  readonly error: TureenError;
  /** What the server asked for, in ms. */
  readonly retryAfter: number | undefined;

  constructor(error: TureenError, retryAfter?: number) {
    this.error = error;
    this.retryAfter = retryAfter;
  }
}

/** One try. */
export interface Attempt {
  /** Ends when the caller aborts, or after a silence. */
  readonly signal: AbortSignal;
  /** A body as it arrives. A cut is `Transient`. */
  pieces(response: Response): AsyncGenerator<Uint8Array>;
  /** Something is done that the next attempt need not repeat: the count of attempts starts again. */
  progressed(): void;
}

export class Transport {
  readonly #fetch: typeof fetch | undefined;
  readonly #delays: readonly number[];
  readonly #patience: number;
  readonly #maxRetryAfter: number;

  constructor(options: TransportOptions = {}) {
    this.#fetch = options.fetch;
    this.#delays = options.delays ?? DELAYS;
    this.#patience = options.patience ?? PATIENCE;
    this.#maxRetryAfter = options.maxRetryAfter ?? MAX_RETRY_AFTER;
  }

  /** As the host's, but every failure is `Transient`. */
  async fetch(url: URL, init: RequestInit): Promise<Response> {
    try {
      return await (this.#fetch ?? fetch)(url, init);
    } catch (cause) {
      throw new Transient(networkFailure(url.host, cause));
    }
  }

  /**
   * @param where for messages
   * @param maxAttempts fewer than the transport's, where there is another way
   * @throws TureenError `ABORTED`, or what the last attempt met
   */
  async retry<T>(
    where: string,
    signal: AbortSignal | undefined,
    act: (attempt: Attempt) => Promise<T>,
    maxAttempts: number = Number.POSITIVE_INFINITY,
  ): Promise<T> {
    for (let failures = 0; ; ) {
      throwIfAborted(signal);
      const attempt = new TimedAttempt(where, signal, this.#patience);
      try {
        return await act(attempt);
      } catch (failure) {
        throwIfAborted(signal);
        if (!(failure instanceof Transient)) throw failure;
        failures = attempt.hasProgressed ? 1 : failures + 1;
        if (failures >= maxAttempts) throw failure.error;
        await wait(this.#delay(failure, failures), signal);
      } finally {
        attempt.stop();
      }
    }
  }

  #delay({ error, retryAfter }: Transient, failures: number): number {
    const delay = this.#delays[failures - 1];
    if (delay === undefined) throw error;
    if (retryAfter === undefined) return delay * (1 + Math.random() / 4);
    if (retryAfter <= this.#maxRetryAfter) return retryAfter;
    const seconds = Math.ceil(retryAfter / 1000);
    throw new TureenError(error.code, "the hub asks to come back later", {
      ...error.details,
      hint: `Try again in ${seconds} s; what has arrived is kept.`,
    });
  }
}

class TimedAttempt implements Attempt {
  readonly signal: AbortSignal;
  hasProgressed = false;
  readonly #where: string;
  readonly #patience: number;
  readonly #silence = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(where: string, signal: AbortSignal | undefined, patience: number) {
    this.#where = where;
    this.#patience = patience;
    const own = this.#silence.signal;
    this.signal = signal === undefined ? own : AbortSignal.any([own, signal]);
    this.#listen();
  }

  async *pieces(response: Response): AsyncGenerator<Uint8Array> {
    if (response.body === null) return;
    const reader = response.body.getReader();
    let isDone = false;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        this.#listen();
        isDone = done;
        if (done) return;
        yield value;
      }
    } catch (cause) {
      isDone = true;
      if (cause instanceof TureenError) throw cause;
      throw new Transient(networkFailure(this.#where, cause));
    } finally {
      if (!isDone) await reader.cancel().catch(() => undefined);
    }
  }

  progressed(): void {
    this.hasProgressed = true;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #listen(): void {
    clearTimeout(this.#timer);
    const seconds = this.#patience / 1000;
    this.#timer = setTimeout(() => {
      this.#silence.abort(new Error(`nothing arrived for ${seconds} s`));
    }, this.#patience);
  }
}

/** A whole body of limited size. */
export async function collect(
  response: Response,
  attempt: Attempt,
  { max, where }: { max: number; where: string },
): Promise<Uint8Array> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let nBytes = 0;
  for await (const piece of attempt.pieces(response)) {
    nBytes += piece.byteLength;
    if (nBytes > max) {
      const expected = `at most ${max} bytes`;
      throw new TureenError("SOURCE_READ_FAILED", "the answer is too large", { expected, where });
    }
    pieces.push(piece as Uint8Array<ArrayBuffer>);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** Seconds or a date → ms from now. */
export function parseRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** @throws TureenError `ABORTED` */
export async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal);
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
  throwIfAborted(signal);
}

function networkFailure(where: string, cause: unknown): TureenError {
  const inner = cause instanceof Error ? (cause.cause ?? cause) : cause;
  const text = inner instanceof Error ? inner.message : String(inner);
  const what = `the request failed: ${text}`;
  return new TureenError("SOURCE_READ_FAILED", what, { where }, { cause });
}
