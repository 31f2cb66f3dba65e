// The forward pass of a Llama-family model, written once for all backends: run state allocated once, one loop over layers.
// No arithmetic happens here; every step is an operation of the backend.
import type {
  Backend,
  KvCache,
  LinearOutput,
  Rope,
  SoupEntry,
  Tensor,
} from "../backend/backend.ts";
import { TureenError, throwIfAborted } from "../errors.ts";
import type { ModelConfig } from "./config.ts";
import type { DecoderWeights, LinearWeights } from "./weights.ts";

/** Bank entries of each linear layer by `LinearInfo.path`; a missing path has none. Read while a pass runs. */
export type Banks = ReadonlyMap<string, readonly SoupEntry[]>;

/** Which logits a pass returns: of the last token [vocabSize], of all [n, vocabSize], or none. */
export type LogitsWanted = "last" | "all" | "none";

export interface DecoderOptions {
  /** Tokens that one sweep over the layers takes at most. Default 128 */
  readonly chunkSize?: number;
}

/**
 * Receives the residual stream for inspection: `stage` 0 is the embedding, 1..layers the stream after each layer,
 * layers + 1 the final norm; `rows` [n, hiddenSize] begin at `position`.
 */
export type OnHidden = (stage: number, position: number, rows: Float32Array) => void;

/** Rows of logits held at once. */
const LOGITS_ROWS = 16;

const NO_ENTRIES: readonly SoupEntry[] = [];

/** Activations of one chunk. */
interface RunState {
  readonly x: Tensor; // residual stream [chunk, hiddenSize]
  readonly xNorm: Tensor; // normed input of attention, MLP or head [chunk, hiddenSize]
  readonly q: Tensor; // [chunk, heads × headDim]
  readonly k: Tensor; // [chunk, kvHeads × headDim]
  readonly v: Tensor; // [chunk, kvHeads × headDim]
  readonly attention: Tensor; // [chunk, heads × headDim]
  readonly gate: Tensor; // [chunk, intermediateSize]
  readonly up: Tensor; // [chunk, intermediateSize]
  readonly logits: Tensor; // [LOGITS_ROWS or chunk, vocabSize]
}

export class Decoder {
  readonly config: ModelConfig;
  readonly #backend: Backend;
  readonly #weights: DecoderWeights;
  readonly #chunkSize: number;
  readonly #state: RunState;
  #rope: Rope | undefined;
  #lastPass: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** Set in tests: every chunk then also reads its residual stream back, layer by layer. */
  onHidden: OnHidden | undefined;

  /** @throws TureenError `OUT_OF_MEMORY` */
  constructor(
    backend: Backend,
    config: ModelConfig,
    weights: DecoderWeights,
    { chunkSize = 128 }: DecoderOptions = {},
  ) {
    if (!Number.isSafeInteger(chunkSize) || chunkSize < 1) {
      throw new TureenError("OPTION_INVALID", "chunkSize must be a positive integer", {
        found: String(chunkSize),
      });
    }
    this.config = config;
    this.#backend = backend;
    this.#weights = weights;
    this.#chunkSize = Math.min(chunkSize, config.maxPositions);
    this.#state = createRunState(backend, config, this.#chunkSize);
  }

  /**
   * Creates a KV cache. Rotary tables grow with the longest one.
   * @param length in positions, at most `config.maxPositions`
   * @throws TureenError `OPTION_INVALID`, `OUT_OF_MEMORY`
   */
  createCache(length: number): KvCache {
    this.#checkDisposed();
    const { layers, kvHeads, headDim, ropeTheta, ropeScaling, maxPositions } = this.config;
    if (!Number.isSafeInteger(length) || length < 1 || length > maxPositions) {
      throw new TureenError("OPTION_INVALID", "the context length does not fit the model", {
        expected: `1..${maxPositions} positions`,
        found: String(length),
      });
    }
    if (this.#rope === undefined || this.#rope.length < length) {
      const options = { headDim, theta: ropeTheta, scaling: ropeScaling, length };
      const rope = this.#backend.createRope(options);
      if (this.#rope !== undefined) this.#backend.free(this.#rope);
      this.#rope = rope;
    }
    return this.#backend.createKvCache({ layers, kvHeads, headDim, length });
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
    logits: LogitsWanted,
    signal?: AbortSignal,
  ): Promise<Float32Array | undefined> {
    const tokens = Array.from(ids);
    this.#check(tokens, position, cache);
    const pass = this.#lastPass.then(() =>
      this.#forward(tokens, position, cache, banks, logits, signal),
    );
    this.#lastPass = pass.catch(() => undefined);
    return pass;
  }

  /** Frees the run state, not the weights or caches. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    for (const tensor of Object.values(this.#state)) this.#backend.free(tensor);
    if (this.#rope !== undefined) this.#backend.free(this.#rope);
  }

  async #forward(
    tokens: readonly number[],
    position: number,
    cache: KvCache,
    banks: Banks,
    wanted: LogitsWanted,
    signal: AbortSignal | undefined,
  ): Promise<Float32Array | undefined> {
    const { vocabSize, rmsNormEps } = this.config;
    const { x, xNorm } = this.#state;
    const all = wanted === "all" ? new Float32Array(tokens.length * vocabSize) : undefined;
    for (let start = 0; start < tokens.length; start += this.#chunkSize) {
      if (start > 0) await nextTask(); // lets an abort in, and the host's other work
      throwIfAborted(signal);
      this.#checkDisposed();
      const chunk = tokens.slice(start, start + this.#chunkSize);
      const n = chunk.length;
      await this.#sweep(chunk, position + start, cache, banks);

      const last = start + n === tokens.length;
      if (all === undefined && !last && this.onHidden === undefined) continue;
      this.#backend.rmsNorm(xNorm, x, this.#weights.norm, rmsNormEps, n);
      await this.#showHidden(this.config.layers + 1, position + start, xNorm, n);
      if (all !== undefined) {
        await this.#readLogits(0, n, banks, all.subarray(start * vocabSize));
      } else if (last && wanted === "last") {
        return this.#readLogits(n - 1, 1, banks, new Float32Array(vocabSize));
      }
    }
    if (wanted === "none") await this.#backend.read(x, 0, 1); // so that failures surface in this pass
    return all;
  }

  /** One chunk through all layers; leaves the residual stream in `state.x`. */
  async #sweep(
    tokens: readonly number[],
    position: number,
    cache: KvCache,
    banks: Banks,
  ): Promise<void> {
    const backend = this.#backend;
    const eps = this.config.rmsNormEps;
    const rope = this.#rope!;
    const { x, xNorm, q, k, v, attention, gate, up } = this.#state;
    const n = tokens.length;
    const spans = [{ cache, position, n }];

    // embedding
    backend.embed(x, this.#weights.embedding, tokens);
    if (this.onHidden !== undefined) await this.#showHidden(0, position, x, n);

    for (const [layer, w] of this.#weights.layers.entries()) {
      // attention norm; q, k and v
      backend.rmsNorm(xNorm, x, w.attentionNorm, eps, n);
      backend.linear(xNorm, n, [
        product(q, w.qProj, banks),
        product(k, w.kProj, banks),
        product(v, w.vProj, banks),
      ]);

      // rotary positions, cache, attention
      backend.rope(q, rope, spans);
      backend.rope(k, rope, spans);
      backend.writeKv(layer, k, v, spans);
      backend.attention(attention, q, layer, spans);

      // output projection, into the residual stream
      backend.linear(attention, n, [product(x, w.oProj, banks, true)]);

      // MLP norm; gate and up; SwiGLU; down, into the residual stream
      backend.rmsNorm(xNorm, x, w.mlpNorm, eps, n);
      backend.linear(xNorm, n, [product(gate, w.gateProj, banks), product(up, w.upProj, banks)]);
      backend.siluMul(gate, gate, up, n);
      backend.linear(gate, n, [product(x, w.downProj, banks, true)]);

      if (this.onHidden !== undefined) await this.#showHidden(layer + 1, position, x, n);
    }
  }

  /** The head over `n` rows of `xNorm`, a few rows at a time, into `into` [n, vocabSize]. */
  async #readLogits(
    row: number,
    n: number,
    banks: Banks,
    into: Float32Array,
  ): Promise<Float32Array> {
    const { xNorm, logits } = this.#state;
    const { vocabSize } = this.config;
    for (let i = 0; i < n; i += logits.rows) {
      const rows = Math.min(logits.rows, n - i);
      this.#backend.linear(xNorm, rows, [product(logits, this.#weights.lmHead, banks)], row + i);
      const place = into.subarray(i * vocabSize, (i + rows) * vocabSize);
      await this.#backend.read(logits, 0, rows, place);
    }
    return into;
  }

  async #showHidden(stage: number, position: number, x: Tensor, n: number): Promise<void> {
    if (this.onHidden === undefined) return;
    this.onHidden(stage, position, await this.#backend.read(x, 0, n));
  }

  #check(tokens: readonly number[], position: number, cache: KvCache): void {
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

  #checkDisposed(): void {
    if (this.#disposed) throw new TureenError("DISPOSED", "the model was disposed");
  }
}

function product(
  out: Tensor,
  { info, matrix, bias }: LinearWeights,
  banks: Banks,
  accumulate = false,
): LinearOutput {
  const bank = banks.get(info.path) ?? NO_ENTRIES;
  return { out, weight: matrix, bias, bank, accumulate };
}

function createRunState(backend: Backend, config: ModelConfig, chunk: number): RunState {
  const { hiddenSize, heads, kvHeads, headDim, intermediateSize, vocabSize } = config;
  const created: Tensor[] = [];
  const tensor = (rows: number, cols: number): Tensor => {
    const handle = backend.createTensor(rows, cols);
    created.push(handle);
    return handle;
  };
  try {
    return {
      x: tensor(chunk, hiddenSize),
      xNorm: tensor(chunk, hiddenSize),
      q: tensor(chunk, heads * headDim),
      k: tensor(chunk, kvHeads * headDim),
      v: tensor(chunk, kvHeads * headDim),
      attention: tensor(chunk, heads * headDim),
      gate: tensor(chunk, intermediateSize),
      up: tensor(chunk, intermediateSize),
      logits: tensor(Math.min(chunk, LOGITS_ROWS), vocabSize),
    };
  } catch (error) {
    for (const handle of created) backend.free(handle);
    throw error;
  }
}

function nextTask(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
