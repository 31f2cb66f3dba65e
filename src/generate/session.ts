// A KV cache and what it holds: the tokens that were run, and the soup's numbers and base weights that they were run under.
// Owns the rule that a cached prefix is used only where a fresh computation would give the same.
import type { KvCache } from "../backend/backend.ts";
import { TureenError } from "../errors.ts";
import type { Decoder } from "../model/decoder.ts";
import { BankState } from "../soup/bank-state.ts";
import type { Soup } from "../soup/soup.ts";
import type { Batcher, Job } from "./batcher.ts";

/** Failures of a backend, not of what it was given. */
const RECOVERABLE: readonly string[] = ["BACKEND_FAILED", "OUT_OF_MEMORY"];

/** What sessions of one model share. */
export interface SessionContext {
  readonly decoder: Decoder;
  readonly batcher: Batcher;
  /** Counts changes of the base weights (fold, unfold). */
  readonly weightsVersion: number;
  /** Runs one task at a time, in order of the calls: a pass, or a change of weights. */
  run<T>(task: () => Promise<T>): Promise<T>;
  /** After the backend has failed: whether it goes on elsewhere, with nothing in its caches. */
  recover?(): Promise<boolean>;
}

/**
 * A conversation's cache. Give it to several `generate` calls, and the longest common beginning of their prompts is computed
 * once. If another soup is used, or the same with other weights, or weights were folded, everything is computed anew; also in
 * the middle of a text, when a soup's weight changes while it is generated.
 */
export class Session {
  readonly #context: SessionContext;
  readonly #cache: KvCache;
  readonly #state = new BankState();
  #tokens: number[] = [];
  #weightsVersion: number;
  /** Of the soup of the last pass. */
  #soupVersion: number | undefined;
  #inUse = false;
  #disposed = false;

  /**
   * @internal use `model.createSession()`
   * @throws TureenError `OUT_OF_MEMORY`
   */
  constructor(context: SessionContext, length: number) {
    this.#context = context;
    this.#weightsVersion = context.weightsVersion;
    this.#cache = context.decoder.createCache(length);
  }

  /** Positions it can hold. */
  get length(): number {
    return this.#cache.length;
  }

  /** Tokens whose keys and values are cached. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** Memory of the cache, in bytes. */
  get nBytes(): number {
    return this.#cache.nBytes;
  }

  /** Frees the cache, after the pass that is using it if there is one. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#tokens = [];
    const free = (): void => this.#context.decoder.freeCache(this.#cache);
    if (!this.#inUse) free();
    else this.#context.run(async () => free()).catch(() => {}); // a disposed model has freed it
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * @internal claims the session for one text; the result gives it back
   * @throws TureenError `OPTION_INVALID` if another text is being generated in it
   */
  acquire(): () => void {
    this.#checkDisposed();
    if (this.#inUse) {
      throw new TureenError("OPTION_INVALID", "the session is in use", {
        hint: "Finish or abort its other text first, or create another session.",
      });
    }
    this.#inUse = true;
    const close = this.#context.batcher.open();
    return () => {
      this.#inUse = false;
      close();
    };
  }

  /**
   * @internal keeps the cached tokens that begin `prompt`, at least one token short of it
   * @returns how many are kept
   */
  rewind(prompt: readonly number[]): number {
    const limit = Math.min(this.#tokens.length, prompt.length - 1);
    let common = 0;
    while (common < limit && this.#tokens[common] === prompt[common]) common++;
    this.#tokens.length = Math.max(common, 0);
    return this.#tokens.length;
  }

  /** @internal whether `forward` may take steps */
  get canRunAhead(): boolean {
    return this.#context.decoder.canRunAhead;
  }

  /** @internal takes the last n tokens out again */
  takeBack(n: number): void {
    this.#tokens.length = Math.max(0, this.#tokens.length - n);
  }

  /** @internal whether nothing has changed that the last pass depended on; it was under the same soup */
  isCurrent(soup: Soup | undefined): boolean {
    return (
      !this.#disposed &&
      this.#soupVersion === soup?.version &&
      this.#weightsVersion === this.#context.weightsVersion
    );
  }

  /**
   * @internal appends tokens and runs them; if anything that the cached ones depend on has changed, runs those again too
   * @param logits receives the logits of as many of the last tokens as it has room for: [.., vocabSize]
   * @param best how many of the best of them matter; default: all
   * @param steps steps to run ahead, and where their tokens go: none, or one for each row of `logits`
   * @throws TureenError `PROMPT_TOO_LONG`, `TOKEN_OUT_OF_RANGE`, `ADAPTER_NOT_FOUND`, `ABORTED`, `DISPOSED`; the session
   * stays usable
   */
  async forward(
    ids: readonly number[],
    soup: Soup | undefined,
    logits?: Float32Array,
    signal?: AbortSignal,
    best?: number,
    steps?: { readonly ahead: number; readonly tokens: number[] },
  ): Promise<void> {
    let past: number[] = [];
    const pass = (): Promise<void> =>
      this.#context.batcher.run((): Job => {
        past = this.#tokens;
        return { ...this.#begin(ids, soup, logits), best, ...steps };
      }, signal);
    try {
      await pass();
    } catch (error) {
      const failed = error instanceof TureenError && RECOVERABLE.includes(error.code);
      if (!failed || (await this.#context.recover?.()) !== true) throw error;
      this.#tokens = past; // which the new caches do not hold: all of it is run again
      await pass();
    }
    if (this.#disposed) return;
    for (const id of ids) past.push(id);
    if (steps !== undefined) for (const id of steps.tokens.slice(0, -1)) past.push(id);
    this.#tokens = past;
  }

  #begin(ids: readonly number[], soup: Soup | undefined, logits: Float32Array | undefined): Job {
    this.#checkDisposed();
    const { weightsVersion } = this.#context;
    const changed = this.#state.update(soup) || this.#weightsVersion !== weightsVersion;
    this.#weightsVersion = weightsVersion;
    this.#soupVersion = soup?.version;
    const { banks } = this.#state;
    const cache = this.#cache;
    const past = this.#tokens;
    if (!changed || past.length === 0) return { ids, position: past.length, cache, banks, logits };
    // Until the past has been run again, the cache mixes old and new.
    this.#tokens = [];
    return { ids: past.concat(ids), position: 0, cache, banks, logits };
  }

  #checkDisposed(): void {
    if (this.#disposed) throw new TureenError("DISPOSED", "the session was disposed");
  }
}
