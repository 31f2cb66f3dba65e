// The forward pass of a Llama-family model, written once for all backends: run state allocated once, one loop over layers. A
// pass takes rows of any number of sequences. No arithmetic happens here; every step is an operation of the backend.
import type { Backend, KvCache, KvCacheType } from "../backend/backend.ts";
import type { Choice, Chosen } from "../backend/sampling.ts";
import { TureenError, throwIfAborted } from "../errors.ts";
import { nextTask } from "../next-task.ts";
import { findWindow, type ModelConfig } from "./config.ts";
import { LogitChooser, spread } from "./logit-chooser.ts";
import { type Layout, type PassPart, placeRows } from "./pass-rows.ts";
import { Ropes } from "./ropes.ts";
import { type Banks, entriesFrom, RowBanks } from "./row-banks.ts";
import { createRunState, Products, type RunState } from "./run-state.ts";
import { TokenPasses } from "./token-passes.ts";
import type { DecoderWeights } from "./weights.ts";

export type { PassPart } from "./pass-rows.ts";
export type { Banks } from "./row-banks.ts";

/** Which logits a pass returns: of the last token [vocabSize], of all [n, vocabSize], or none. */
export type LogitsWanted = "last" | "all" | "none";

export interface DecoderOptions {
  /** Tokens that one sweep over the layers takes at most. Default 128 */
  readonly chunkSize?: number;
  /** How KV caches hold keys and values. Default f32 */
  readonly kvCache?: KvCacheType | undefined;
}

/**
 * Receives the residual stream of passes over one sequence, for inspection: `stage` 0 is the embedding, 1..layers the stream
 * after each layer, layers + 1 the final norm; `rows` [n, hiddenSize] begin at `position`.
 */
export type OnHidden = (stage: number, position: number, rows: Float32Array) => void;

export class Decoder {
  readonly config: ModelConfig;
  /** Tokens of a pass, of all its sequences together. */
  readonly chunkSize: number;
  readonly #backend: Backend;
  readonly #weights: DecoderWeights;
  readonly #state: RunState;
  readonly #products: Products;
  readonly #rowBanks: RowBanks;
  readonly #kvCache: KvCacheType;
  /** Where the backend has one. */
  readonly #chooser: LogitChooser | undefined;
  /** Likewise. */
  readonly #tokenPasses: TokenPasses | undefined;
  readonly #ropes: Ropes;
  #lastPass: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** Set in tests: every pass then also reads its residual stream back, layer by layer. */
  onHidden: OnHidden | undefined;

  /** @throws TureenError `OUT_OF_MEMORY` */
  constructor(
    backend: Backend,
    config: ModelConfig,
    weights: DecoderWeights,
    { chunkSize = 128, kvCache = "f32" }: DecoderOptions = {},
  ) {
    if (!Number.isSafeInteger(chunkSize) || chunkSize < 1) {
      throw new TureenError("OPTION_INVALID", "chunkSize must be a positive integer", {
        found: String(chunkSize),
      });
    }
    this.config = config;
    this.chunkSize = Math.min(chunkSize, config.maxPositions);
    this.#backend = backend;
    this.#kvCache = kvCache;
    this.#weights = weights;
    this.#state = createRunState(backend, config, this.chunkSize);
    this.#chooser = backend.sampling && new LogitChooser(backend.sampling, this.#state.logits);
    this.#tokenPasses = backend.captures && new TokenPasses(backend.captures);
    this.#products = new Products(weights, this.#state);
    this.#rowBanks = new RowBanks(this.chunkSize);
    this.#ropes = new Ropes(backend, config);
  }

  /**
   * Creates a KV cache. Rotary tables grow with the longest one.
   * @param length in positions, at most `config.maxPositions`
   * @throws TureenError `OPTION_INVALID`, `OUT_OF_MEMORY`
   */
  createCache(length: number): KvCache {
    this.#checkDisposed();
    const { layers, kvHeads, headDim, maxPositions } = this.config;
    if (!Number.isSafeInteger(length) || length < 1 || length > maxPositions) {
      throw new TureenError("OPTION_INVALID", "the context length does not fit the model", {
        expected: `1..${maxPositions} positions`,
        found: String(length),
      });
    }
    this.#ropes.grow(length);
    return this.#backend.createKvCache({
      type: this.#kvCache,
      layers,
      kvHeads,
      headDim,
      length,
    });
  }

  freeCache(cache: KvCache): void {
    if (!this.#disposed) this.#backend.free(cache);
  }

  /**
   * Runs tokens at `position`.. through the model; their keys and values enter the cache, which must hold all positions
   * before. Passes run one after another in the order of their calls. After a failed or aborted pass the cache holds
   * nothing certain from `position` on.
   * @returns logits as wanted; `undefined` for `none`
   * @throws TureenError `TOKEN_OUT_OF_RANGE`, `PROMPT_TOO_LONG`, `ABORTED`, `DISPOSED`
   */
  async forward(
    ids: ArrayLike<number>,
    position: number,
    cache: KvCache,
    banks: Banks,
    wanted: LogitsWanted,
    signal?: AbortSignal,
  ): Promise<Float32Array | undefined> {
    const tokens = Array.from(ids);
    this.check(tokens, position, cache);
    const { vocabSize } = this.config;
    const rows = { none: 0, last: 1, all: tokens.length }[wanted];
    const logits = new Float32Array(rows * vocabSize);
    await this.#next(async () => {
      for (let start = 0; start < tokens.length; start += this.chunkSize) {
        if (start > 0) await nextTask(); // lets an abort in, and the host's other work
        throwIfAborted(signal);
        const part = tokens.slice(start, start + this.chunkSize);
        // rows with logits are the last ones of all
        const from = Math.max(0, start - (tokens.length - rows));
        const to = Math.max(0, start + part.length - (tokens.length - rows));
        const place = logits.subarray(from * vocabSize, to * vocabSize);
        await this.#pass([{ ids: part, position: position + start, cache, banks, logits: place }]);
      }
    });
    return wanted === "none" ? undefined : logits;
  }

  /**
   * One pass over tokens of several sequences, at most `chunkSize` in all; each sequence gets the bits that it would get alone.
   * `check` must have accepted every part. After a failed pass no cache holds anything certain from its part's position on.
   * @throws TureenError `DISPOSED`
   */
  run(parts: readonly PassPart[]): Promise<void> {
    const [part] = parts;
    if (parts.length === 1 && (part?.ahead ?? 0) > 0) {
      return this.#next(() => this.#passAhead(part!));
    }
    return this.#next(() => this.#pass(parts));
  }

  /** Whether a part may have steps `ahead`. */
  get canRunAhead(): boolean {
    return this.#chooser !== undefined && this.onHidden === undefined;
  }

  /**
   * Checks the tokens that are to be run at `position`..
   * @throws TureenError `OPTION_INVALID`, `TOKEN_OUT_OF_RANGE`, `PROMPT_TOO_LONG`, `DISPOSED`
   */
  check(tokens: readonly number[], position: number, cache: KvCache): void {
    this.#checkDisposed();
    const { vocabSize } = this.config;
    if (tokens.length === 0) {
      throw new TureenError("OPTION_INVALID", "a forward pass needs at least one token");
    }
    if (!Number.isSafeInteger(position) || position < 0) {
      throw new TureenError("OPTION_INVALID", "a position must be a non-negative integer", {
        found: String(position),
      });
    }
    const bad = tokens.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== -1) {
      throw new TureenError("TOKEN_OUT_OF_RANGE", "a token id is outside the vocabulary", {
        expected: `0..${vocabSize - 1}`,
        found: String(tokens[bad]),
        where: `token ${bad}`,
      });
    }
    if (position + tokens.length > cache.length) {
      throw new TureenError("PROMPT_TOO_LONG", "the tokens do not fit the context", {
        expected: `at most ${cache.length} positions`,
        found: `${position + tokens.length}`,
        hint: "Shorten the prompt, or load the model with a larger contextLength",
      });
    }
  }

  /** Frees the run state, not the weights or caches. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const tensor of Object.values(this.#state)) this.#backend.free(tensor);
    this.#chooser?.dispose();
    this.#ropes.free();
  }

  #next(pass: () => Promise<void>): Promise<void> {
    const result = this.#lastPass.then(pass);
    this.#lastPass = result.catch(() => undefined);
    return result;
  }

  async #pass(parts: readonly PassPart[]): Promise<void> {
    this.#checkDisposed();
    const { x, xNorm } = this.#state;
    const { layers, rmsNormEps, vocabSize } = this.config;
    const hidden = parts.length === 1 ? this.onHidden : undefined;
    const [part] = parts as [PassPart];
    const isToken =
      parts.length === 1 && part.ids.length === 1 && part.logits?.length === vocabSize;
    if (isToken && this.#tokenPasses !== undefined && hidden === undefined) {
      await this.#passToken(part, this.#tokenPasses);
      return;
    }
    const layout = placeRows(parts, vocabSize);
    const n = layout.ids.length;
    if (n > this.chunkSize) throw new Error(`a pass of ${n} rows`);
    const { position } = part;
    for (const stage of this.#sweep(layout)) {
      hidden?.(stage, position, await this.#backend.read(x, 0, n));
    }
    if (layout.head < n || hidden !== undefined) {
      this.#backend.rmsNorm(xNorm, x, this.#weights.norm, rmsNormEps, n);
      hidden?.(layers + 1, position, await this.#backend.read(xNorm, 0, n));
    }
    if (layout.head < n) await this.#readLogits(parts, layout.head, n);
    else await this.#backend.read(x, 0, 1); // so that failures surface in this pass
  }

  /** A part of one token whose logits are wanted. */
  async #passToken(part: PassPart, passes: TokenPasses): Promise<void> {
    const { ids, position, cache, banks, logits } = part;
    passes.record(ids[0]!, position, cache, banks, () => {
      this.#run(this.#sweep(placeRows([part], this.config.vocabSize)));
      this.#recordHead(1);
    });
    await this.#backend.read(this.#state.logits, 0, 1, logits);
  }

  /** The steps of a part that runs ahead: all are recorded before the first one's choice has arrived. */
  async #passAhead(part: PassPart): Promise<void> {
    this.#checkDisposed();
    const { sampling } = this.#chooser!;
    const { logits } = this.#state;
    const { vocabSize } = this.config;
    const { cache, banks, ids, ahead = 0 } = part;
    const choice = this.#chooser!.choiceOf(1);
    const chosen: Promise<Chosen>[] = [];
    for (let step = 0; step <= ahead; step++) {
      const position = part.position + ids.length - 1 + step;
      const layout: Layout =
        step === 0
          ? placeRows([{ ...part, logits: part.logits?.subarray(0, vocabSize) }], vocabSize)
          : {
              ids: new Int32Array(1),
              spans: [{ cache, position, n: 1 }],
              runs: [{ banks, n: 1 }],
              head: 0,
            };
      this.#run(this.#sweep(layout, step === 0 ? undefined : choice));
      this.#recordHead(layout.ids.length);
      sampling.choose(choice, logits, 1);
      chosen.push(sampling.readChoice(choice, 1));
    }
    for (const [step, best] of (await Promise.all(chosen)).entries()) {
      spread(best, part.logits!.subarray(step * vocabSize, (step + 1) * vocabSize));
      part.tokens?.push(best.ids[0]!);
    }
  }

  /** Logits of the last of n rows. */
  #recordHead(n: number): void {
    const { x, xNorm } = this.#state;
    const [product] = this.#products.head;
    this.#backend.rmsNorm(xNorm, x, this.#weights.norm, this.config.rmsNormEps, n);
    product.bank = entriesFrom(product.bank, n - 1);
    this.#backend.linear(xNorm, 1, this.#products.head, n - 1);
  }

  #run(stages: Iterator<number>): void {
    while (stages.next().done !== true);
  }

  /** All layers; leaves the residual stream in `state.x`. Pauses after each stage (see `OnHidden`). */
  *#sweep({ ids, spans, runs }: Layout, chosen?: Choice): Generator<number> {
    const backend = this.#backend;
    const { layers, rmsNormEps: eps, embeddingScale, activation } = this.config;
    const { x, xNorm, q, k, v, attention, gate, up } = this.#state;
    const n = ids.length;
    this.#products.use(this.#rowBanks.fill(runs));

    // embedding
    const table = this.#weights.embedding;
    if (chosen === undefined) backend.embed(x, table, ids, embeddingScale);
    else backend.sampling!.embedChosen(x, table, chosen, n, embeddingScale);
    yield 0;

    for (let layer = 0; layer < layers; layer++) {
      const { attentionNorm, qNorm, kNorm, attentionOutputNorm, mlpNorm, mlpOutputNorm } =
        this.#weights.layers[layer]!;
      const products = this.#products.layers[layer]!;

      // attention norm; q, k and v
      backend.rmsNorm(xNorm, x, attentionNorm, eps, n);
      backend.linear(xNorm, n, products.qkv);

      // norms of heads and rotary positions, where the layer has them; cache, attention
      if (qNorm !== undefined) backend.rmsNorm(q, q, qNorm, eps, n);
      if (kNorm !== undefined) backend.rmsNorm(k, k, kNorm, eps, n);
      const rope = this.#ropes.of(layer);
      if (rope !== undefined) {
        backend.rope(q, rope, spans);
        backend.rope(k, rope, spans);
      }
      backend.writeKv(layer, k, v, spans);
      backend.attention(attention, q, layer, spans, findWindow(this.config, layer));

      // output projection, into the residual stream, where the layer has it by a norm
      backend.linear(attention, n, products.o);
      if (attentionOutputNorm) backend.rmsNorm(x, xNorm, attentionOutputNorm, eps, n, true);

      // MLP norm; gate and up; SwiGLU or GeGLU; down, into the residual stream likewise
      backend.rmsNorm(xNorm, x, mlpNorm, eps, n);
      backend.linear(xNorm, n, products.gateUp);
      backend[`${activation}Mul`](gate, gate, up, n);
      backend.linear(gate, n, products.down);
      if (mlpOutputNorm) backend.rmsNorm(x, xNorm, mlpOutputNorm, eps, n, true);

      yield layer + 1;
    }
  }

  /** The head over rows `head`..n of `xNorm`, a few at a time, to the places that the parts name. */
  async #readLogits(parts: readonly PassPart[], head: number, n: number): Promise<void> {
    const { xNorm, logits } = this.#state;
    const { vocabSize } = this.config;
    const [product] = this.#products.head;
    const bank = product.bank;
    const places = parts.flatMap(({ logits: place, best }) =>
      place?.length ? [{ place, best }] : [],
    );
    let filled = 0; // rows of places[0]
    for (let row = head; row < n; row += logits.rows) {
      const rows = Math.min(logits.rows, n - row);
      product.bank = entriesFrom(bank, row);
      this.#backend.linear(xNorm, rows, this.#products.head, row);
      const reads: Promise<unknown>[] = [];
      for (let at = 0; at < rows; ) {
        const { place, best } = places[0]!;
        const count = Math.min(rows - at, place.length / vocabSize - filled);
        const into = place.subarray(filled * vocabSize, (filled + count) * vocabSize);
        reads.push(
          best !== undefined && this.#chooser?.canChoose(best)
            ? this.#chooser.read(at, count, best, into)
            : this.#backend.read(logits, at, count, into),
        );
        at += count;
        filled += count;
        if (filled === place.length / vocabSize) {
          places.shift();
          filled = 0;
        }
      }
      await Promise.all(reads);
    }
  }

  #checkDisposed(): void {
    if (this.#disposed) throw new TureenError("DISPOSED", "the model was disposed");
  }
}
