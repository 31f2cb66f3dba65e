// A loaded model and everything one does with it: adapters, soups, text, logits, folding. Holds the parts together and says
// who owns what; the work is theirs. Merging, learning and writing are loaded when they are asked for.
import type { Backend } from "../backend/backend.ts";
import { TureenError } from "../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { Batcher } from "../generate/batcher.ts";
import type { Session, SessionContext } from "../generate/session.ts";
import { SessionPool } from "../generate/session-pool.ts";
import { PassCosts } from "../generate/speculator.ts";
import type { LearnedSoup, LearnSoupOptions } from "../learn/learn-soup.ts";
import { listLinears, type ModelConfig } from "../model/config.ts";
import type { Decoder } from "../model/decoder.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { DecoderWeights } from "../model/weights.ts";
import { checkFoldable, foldedSource, readFoldParts } from "../soup/fold.ts";
import type { FoldModelOptions } from "../soup/fold-model.ts";
import { fingerprintBase } from "../soup/identity.ts";
import { type LoadSoupOptions, loadRecipe } from "../soup/load-recipe.ts";
import { LoadedAdapters } from "../soup/loaded-adapters.ts";
import type { MergeSpec } from "../soup/merge/plan-soup.ts";
import type { SoupRecipe } from "../soup/recipe.ts";
import { readReleasedCat } from "../soup/released-cat.ts";
import { Soup } from "../soup/soup.ts";
import type { SoupWeights } from "../soup/weights.ts";
import type { HubOptions } from "../sources/hub-options.ts";
import type { FileSetInput } from "../sources/open.ts";
import { type FileSink, openFileSink } from "../sources/sink.ts";
import type { FileSet } from "../sources/source.ts";
import { type AdapterInfo, describeAdapter, describeModel, type ModelInfo } from "./describe.ts";
import { type GenerateTextOptions, Generation } from "./generation.ts";
import { type LoadAdapterOptions, openAdapterFor } from "./load-adapter.ts";
import type { MergedAdapterInfo } from "./merge.ts";
import { RunQueue } from "./run-queue.ts";
import { type Prompt, type TextTools, tokenizePrompt } from "./text-tools.ts";

/** @internal what `loadModel` puts together; the model owns all of it */
export interface ModelParts {
  readonly files: FileSet;
  readonly hub: HubOptions | undefined;
  readonly config: ModelConfig;
  readonly text: TextTools;
  readonly checkpoint: Checkpoint;
  readonly backend: Backend;
  /** Why this backend. */
  readonly reason: string;
  readonly weights: DecoderWeights;
  readonly decoder: Decoder;
  readonly contextLength: number;
}

/** Which logits to compute. */
export interface LogitsOptions {
  /** Default: the base alone. */
  readonly soup?: Soup | SoupWeights | undefined;
  /** Logits of every position instead of the last. Default false. */
  readonly all?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A base model with any number of adapters. Made by `loadModel`; release it with `dispose`. */
export class Model {
  readonly config: ModelConfig;
  /** Positions of a KV cache. */
  readonly contextLength: number;
  readonly #parts: ModelParts;
  readonly #queue = new RunQueue();
  readonly #adapters: LoadedAdapters;
  readonly #context: SessionContext;
  readonly #sessions: SessionPool;
  readonly #costs = new PassCosts();
  #folded: ReadonlySet<string> = new Set();
  #weightsVersion = 0;
  #disposing: Promise<void> | undefined;

  /** @internal use `loadModel()` */
  constructor(parts: ModelParts) {
    this.#parts = parts;
    this.config = parts.config;
    this.contextLength = parts.contextLength;
    const { backend, weights, checkpoint } = parts;
    const linears = listLinears(parts.config);
    this.#adapters = new LoadedAdapters({
      linears,
      loadSegment: (data) => backend.loadSegment(data, weights.linears.get(data.name)!.matrix.type),
      freeSegment: (segment) => backend.free(segment),
      identifyBase: () => fingerprintBase(checkpoint),
    });
    const model = this;
    this.#context = {
      decoder: parts.decoder,
      batcher: new Batcher(parts.decoder, this.#queue),
      run: (task) => this.#queue.run(task),
      get weightsVersion() {
        return model.#weightsVersion;
      },
      recover: () =>
        this.#queue.run(async () => {
          const recovered = (await backend.recover?.()) ?? false;
          if (recovered) this.#weightsVersion++; // no cache holds anything
          return recovered;
        }),
    };
    this.#sessions = new SessionPool(this.#context, this.contextLength);
  }

  /** Shape, sizes, and which backend runs it. */
  get info(): ModelInfo {
    const { contextLength } = this;
    return describeModel({ ...this.#parts, name: this.#parts.files.name, contextLength });
  }

  /** `undefined` if the model came without tokenizer.json. */
  get tokenizer(): Tokenizer | undefined {
    return this.#parts.text.tokenizer;
  }

  /** @internal tokenizer and chat template */
  get text(): TextTools {
    return this.#parts.text;
  }

  /** In load order. */
  get adapters(): readonly AdapterInfo[] {
    return this.#adapters.list().map(describeAdapter);
  }

  /**
   * Loads a LoRA adapter: PEFT's `adapter_config.json` and `adapter_model.safetensors`, or a GGUF file. It has no effect until a
   * soup gives it weight. If it fails, the model is as before.
   * @param source as for `loadModel`, e.g. `"user/adapter"`
   * @throws TureenError `ADAPTER_DUPLICATE`, `ADAPTER_UNSUPPORTED`, `ADAPTER_MISMATCH`, `ADAPTER_CONFIG_INVALID`,
   * `SOURCE_NOT_FOUND`, `FORMAT_INVALID`, `WEIGHTS_NOT_FINITE`, `OUT_OF_MEMORY`, `ABORTED`
   */
  async loadAdapter(source: FileSetInput, options: LoadAdapterOptions): Promise<AdapterInfo> {
    this.#checkDisposed();
    const { name, signal } = options ?? {};
    this.#adapters.checkName(name);
    const base = { ...this.#parts, linears: this.#adapters.linears };
    const { files, adapter } = await openAdapterFor(base, source, options);
    try {
      const add = () => this.#adapters.add(name, adapter, files, { signal });
      return describeAdapter(await this.#queue.run(add));
    } catch (error) {
      await adapter.close();
      throw error;
    }
  }

  /**
   * Frees an adapter. Soups that still give it weight fail from their next use on.
   * @throws TureenError `ADAPTER_NOT_FOUND`
   */
  unloadAdapter(name: string): Promise<void> {
    return this.#queue.run(() => this.#adapters.unload(name));
  }

  /**
   * Makes a soup of loaded adapters: `model.soup({ math: 0.6, code: 0.4 })`. Nothing is loaded or moved; several soups can be
   * in use at once.
   * @throws TureenError `SOUP_INVALID`, `ADAPTER_NOT_FOUND`
   */
  soup(weights: SoupWeights = {}): Soup {
    this.#checkDisposed();
    return new Soup(this.#adapters, weights);
  }

  /**
   * Makes the soup that adapters of LoRA Soups' released training code carry in their files: a softmax over the adapters in
   * every linear layer.
   * @param adapters names of loaded adapters, all that were trained together; default: all that are loaded
   * @throws TureenError `SOUP_INVALID` if they carry no learned weights, `ADAPTER_NOT_FOUND`
   */
  async catSoup(adapters?: readonly string[]): Promise<Soup> {
    this.#checkDisposed();
    const loaded = adapters?.map((name) => this.#adapters.get(name)) ?? this.#adapters.list();
    return new Soup(this.#adapters, await readReleasedCat(loaded));
  }

  /**
   * Makes the soup of a `soup.json`. Its adapters must be loaded, under the names it gives them.
   * @param recipe the file's text, its parsed JSON, or a `SoupRecipe`
   * @throws TureenError `SOUP_INVALID` (also if an adapter's content differs), `ADAPTER_NOT_FOUND`, `FORMAT_UNSUPPORTED`
   */
  async loadSoup(recipe: SoupRecipe | unknown, options: LoadSoupOptions = {}): Promise<Soup> {
    this.#checkDisposed();
    return loadRecipe(recipe, this.#adapters, options);
  }

  /**
   * Merges loaded adapters into a new one, by any method that gives a low-rank result: computed once, then an adapter like any
   * other, which soups can use. `cat` is what soups do without merging.
   * @throws TureenError `ADAPTER_DUPLICATE`, `OPTION_INVALID`, `SOUP_INVALID`, `ADAPTER_MISMATCH`, `ADAPTER_UNSUPPORTED`,
   * `ADAPTER_NOT_FOUND`, `OUT_OF_MEMORY`, `ABORTED`
   */
  async merge(spec: MergeSpec, options: LoadAdapterOptions): Promise<MergedAdapterInfo> {
    this.#checkDisposed();
    const { name, signal } = options ?? {};
    this.#adapters.checkName(name);
    const { mergeLoaded } = await import("./merge.ts");
    const { files, report } = await mergeLoaded(this.#adapters, spec, name, { signal });
    return { ...(await this.loadAdapter(files, options)), ...report };
  }

  /**
   * Learns a soup's weights from examples, by gradient descent through the frozen model: "learned CAT". See `LearnSoupOptions`
   * for the choices. Other work on the model goes on between examples. When aborted, returns the best weights so far.
   * @throws TureenError `OPTION_INVALID`, `ADAPTER_NOT_FOUND`, `FORMAT_INVALID` (the data), `TOKENIZER_INVALID`,
   * `BACKEND_UNAVAILABLE`, `LOGITS_NOT_FINITE`, `SOUP_INVALID` (a soup is folded in, or was meanwhile)
   */
  async learnSoup(options: LearnSoupOptions): Promise<LearnedSoup> {
    this.#checkDisposed();
    if (this.isFolded) {
      throw new TureenError("SOUP_INVALID", "a soup cannot be learned over a folded one", {
        hint: "Unfold it first.",
      });
    }
    const { backend, config, weights, text } = this.#parts;
    const context = this.#context;
    const target = {
      backend,
      config,
      weights,
      text,
      adapters: this.#adapters,
      run: context.run,
      get weightsVersion() {
        return context.weightsVersion;
      },
    };
    const { learnSoup } = await import("../learn/learn-soup.ts");
    return learnSoup(target, options);
  }

  /**
   * Generates text. Starts when the result is first read; see `Generation` for the ways to read it. Several generations may
   * run at once, each with its own soup and cache: they go through the network together and share its weights, which takes far
   * less time than one after another, and gives each what it gives alone.
   * @param prompt text, chat messages (for the model's chat template), or token ids
   * @throws TureenError while reading: `PROMPT_TOO_LONG`, `TOKEN_OUT_OF_RANGE`, `OPTION_INVALID`, `TOKENIZER_INVALID`,
   * `DISPOSED`
   */
  generate(prompt: Prompt, options: GenerateTextOptions = {}): Generation {
    this.#checkDisposed();
    const { text, config } = this.#parts;
    const soup = this.#toSoup(options.soup);
    return new Generation({
      text,
      config,
      promptTokenIds: () => this.tokenize(prompt),
      soup,
      options,
      costs: this.#parts.backend.hasEqualRows === true ? this.#costs : undefined,
      openSession: (length) => this.#sessions.open(options.session, length),
    });
  }

  /**
   * Runs tokens from an empty context and returns their logits.
   * @returns f32 [vocabSize] of the last position, or with `all` [n × vocabSize], row by row
   * @throws TureenError `TOKEN_OUT_OF_RANGE`, `PROMPT_TOO_LONG`, `OPTION_INVALID`, `ABORTED`, `DISPOSED`
   */
  async logits(ids: ArrayLike<number>, options: LogitsOptions = {}): Promise<Float32Array> {
    this.#checkDisposed();
    const soup = this.#toSoup(options.soup);
    const { session, close } = this.#sessions.open(undefined, ids.length);
    try {
      session.rewind([]);
      const rows = options.all === true ? Math.min(ids.length, this.contextLength) : 1;
      const logits = new Float32Array(rows * this.config.vocabSize);
      await session.forward(Array.from(ids), soup, logits, options.signal);
      return logits;
    } finally {
      close();
    }
  }

  /**
   * The prompt's token ids, as `generate` runs them.
   * @throws TureenError `TOKENIZER_INVALID` if the model has no tokenizer or no chat template
   */
  tokenize(prompt: Prompt): number[] {
    return tokenizePrompt(prompt, this.#parts.text);
  }

  /**
   * Makes a cache for a conversation, to give to `generate`.
   * @param options.length in positions; default `contextLength`
   * @throws TureenError `OUT_OF_MEMORY`, `OPTION_INVALID`
   */
  createSession(options: { readonly length?: number } = {}): Session {
    this.#checkDisposed();
    return this.#sessions.create(options.length);
  }

  /**
   * Writes a soup into the base weights: from now on the base alone is the soup, at no cost per token. A soup given to
   * `generate` then comes on top. Replaces an earlier fold. With q8 and q4, folded weights are quantized anew.
   * @throws TureenError `SOUP_INVALID`, `ADAPTER_UNSUPPORTED` (an adapter with biases); the weights are then as before
   */
  fold(soup: Soup | SoupWeights): Promise<void> {
    this.#checkDisposed();
    return this.#queue.run(async () => {
      const { linears } = this.#adapters;
      const { tieWordEmbeddings } = this.config;
      const live = this.#toSoup(soup) ?? new Soup(this.#adapters);
      const changed = checkFoldable(live, linears.keys(), tieWordEmbeddings);
      const before = this.#folded;
      this.#folded = new Set([...before, ...changed.keys()]);
      try {
        for (const path of this.#folded) {
          const parts = await readFoldParts(changed.get(path) ?? []);
          await this.#replaceLinear(path, parts);
        }
        this.#folded = new Set(changed.keys());
      } catch (error) {
        await this.#restore();
        throw error;
      }
    });
  }

  /** Restores the base weights, bit for bit, by reading them again from their file. */
  unfold(): Promise<void> {
    this.#checkDisposed();
    return this.#queue.run(() => this.#restore());
  }

  /** Whether a soup is folded into the weights. */
  get isFolded(): boolean {
    return this.#folded.size > 0;
  }

  /**
   * Writes the base with a soup folded in as a full safetensors model, with config and tokenizer, in the base's own types.
   * @param target a directory (Node, Deno, Bun) or a sink
   * @throws TureenError `SOUP_INVALID`, `ADAPTER_UNSUPPORTED`, `SOURCE_WRITE_FAILED`, `ABORTED`
   */
  async saveFolded(
    soup: Soup | SoupWeights,
    target: string | URL | FileSink,
    options: FoldModelOptions = {},
  ): Promise<void> {
    this.#checkDisposed();
    const { files, checkpoint } = this.#parts;
    const { tieWordEmbeddings } = this.config;
    const live = this.#toSoup(soup) ?? new Soup(this.#adapters);
    const changed = checkFoldable(live, this.#adapters.linears.keys(), tieWordEmbeddings);
    const sink = await openFileSink(target);
    const { writeFoldedModel } = await import("../soup/fold-model.ts");
    await writeFoldedModel(files, checkpoint, changed, sink, options);
  }

  /** Ends running generations with `DISPOSED` and releases all memory, threads and files. */
  dispose(): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #dispose(): Promise<void> {
    this.#sessions.close();
    await this.#queue.close();
    const { decoder, backend, checkpoint } = this.#parts;
    decoder.dispose();
    await backend.dispose();
    await this.#adapters.close();
    await checkpoint.close();
  }

  async #restore(): Promise<void> {
    for (const path of this.#folded) await this.#replaceLinear(path, []);
    this.#folded = new Set();
  }

  async #replaceLinear(
    path: string,
    parts: Awaited<ReturnType<typeof readFoldParts>>,
  ): Promise<void> {
    const { matrix, source, floats } = this.#parts.weights.linears.get(path)!;
    this.#weightsVersion++;
    const rows = parts.length === 0 ? source() : foldedSource(floats(), parts);
    await this.#parts.backend.replaceMatrix(matrix, rows);
  }

  #toSoup(soup: Soup | SoupWeights | undefined): Soup | undefined {
    if (soup === undefined || soup instanceof Soup) return soup;
    return new Soup(this.#adapters, soup);
  }

  #checkDisposed(): void {
    if (this.#disposing === undefined) return;
    throw new TureenError("DISPOSED", "the model was disposed");
  }
}
