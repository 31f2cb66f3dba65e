// The backward pass of the decoder, written once for all backends: dLoss / dm for every bank entry, of one example at a time.
// Only each layer's input is kept from the forward pass; the rest of a layer is computed again when its turn comes, so that
// memory grows with layers × tokens × hiddenSize, no faster. Base weights and adapters get no gradients.
import type {
  Backend,
  Handle,
  KvCache,
  LinearOutput,
  Rope,
  SoupEntry,
  Tensor,
  Vector,
} from "../backend/backend.ts";
import type { Gradients, LinearGradient } from "../backend/gradients.ts";
import { TureenError } from "../errors.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Banks } from "../model/decoder.ts";
import type { DecoderWeights, LinearWeights } from "../model/weights.ts";

/** A text to learn from. */
export interface TrainingExample {
  readonly ids: readonly number[];
  /** weights[t] is the weight of predicting ids[t + 1] in the loss; 0 where nothing is scored. [ids.length - 1] */
  readonly weights: readonly number[];
}

/** Linear layer → one slot per bank entry: the place of its gradient. Several entries may share one. */
export type Slots = ReadonlyMap<string, readonly number[]>;

export interface BackwardOptions {
  /** Tokens of the longest example that a pass takes, its last one (which is only predicted) not counted. */
  readonly maxTokens: number;
  /** Size of the gradient. */
  readonly slots: number;
}

/** Logits held at once, in numbers: 4 MiB. A vocabulary larger than an eighth of it still gets 8 rows. */
const LOGITS_NUMBERS = 2 ** 20;
const MIN_LOGITS_ROWS = 8;

const NO_ENTRIES: readonly SoupEntry[] = [];
const NO_SLOTS: readonly number[] = [];

/** Activations and their gradients; rows are tokens. */
interface PassState {
  readonly inputs: readonly Tensor[]; // residual stream before each layer, and after the last [n, hiddenSize]
  readonly attentionNorm: Tensor; // [n, hiddenSize]
  readonly qProduct: Tensor; // q before its norm, where the model has one; else q itself [n, heads × headDim]
  readonly kProduct: Tensor; // likewise [n, kvHeads × headDim]
  readonly q: Tensor; // [n, heads × headDim]
  readonly k: Tensor; // [n, kvHeads × headDim]
  readonly v: Tensor; // [n, kvHeads × headDim]
  readonly attention: Tensor; // [n, heads × headDim]
  readonly middle: Tensor; // residual stream between attention and MLP [n, hiddenSize]
  readonly mlpNorm: Tensor; // [n, hiddenSize]
  readonly gate: Tensor; // [n, intermediateSize]
  readonly up: Tensor; // [n, intermediateSize]
  readonly product: Tensor; // silu(gate) ⊙ up [n, intermediateSize]
  readonly logits: Tensor; // [a few, vocabSize], then their gradient
  readonly losses: Tensor; // [a few, 1]
  readonly dX: Tensor; // of the residual stream [n, hiddenSize]
  readonly dNorm: Tensor; // of a normed input [n, hiddenSize]
  readonly dQProduct: Tensor;
  readonly dKProduct: Tensor;
  readonly dQ: Tensor;
  readonly dK: Tensor;
  readonly dV: Tensor;
  readonly dAttention: Tensor;
  readonly dGate: Tensor; // of product, then of gate [n, intermediateSize]
  readonly dUp: Tensor;
  readonly dM: Tensor; // [1, slots]
}

export class BackwardPass {
  readonly maxTokens: number;
  readonly slots: number;
  readonly #backend: Backend;
  readonly #gradients: Gradients;
  readonly #config: ModelConfig;
  readonly #weights: DecoderWeights;
  readonly #handles: Handle[] = [];
  readonly #state: PassState;
  /** Of one layer, used again by each. */
  readonly #cache: KvCache;
  readonly #rope: Rope;

  /** @throws TureenError `BACKEND_UNAVAILABLE` if the backend has no gradients, `OUT_OF_MEMORY` */
  constructor(
    backend: Backend,
    config: ModelConfig,
    weights: DecoderWeights,
    { maxTokens, slots }: BackwardOptions,
  ) {
    if (backend.gradients === undefined) {
      throw new TureenError("BACKEND_UNAVAILABLE", "this backend cannot learn", {
        found: `${backend.name} ${backend.build}`,
        hint: "Load the model with another backend.",
      });
    }
    this.#backend = backend;
    this.#gradients = backend.gradients;
    this.#config = config;
    this.#weights = weights;
    this.maxTokens = maxTokens;
    this.slots = slots;
    const { kvHeads, headDim, ropeTheta: theta, ropeScaling: scaling } = config;
    const length = maxTokens;
    try {
      this.#cache = this.#keep(backend.createKvCache({ layers: 1, kvHeads, headDim, length }));
      this.#rope = this.#keep(backend.createRope({ headDim, theta, scaling, length }));
      this.#state = this.#createState();
      this.#gradients.clear(this.#state.dM, 1);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** The example's loss Σ weights · -log p(next token), forward only. */
  loss(example: TrainingExample, banks: Banks): Promise<number> {
    return this.#run(example, banks, undefined);
  }

  /** Adds the example's gradient to what was gathered before. @returns its loss */
  accumulate(example: TrainingExample, banks: Banks, slots: Slots): Promise<number> {
    return this.#run(example, banks, slots);
  }

  /** The gathered dLoss / dm [slots]. Begins anew. */
  async takeGradient(): Promise<Float32Array> {
    const gradient = await this.#backend.read(this.#state.dM, 0, 1);
    this.#gradients.clear(this.#state.dM, 1);
    return gradient;
  }

  dispose(): void {
    for (const handle of this.#handles.splice(0)) this.#backend.free(handle);
  }

  async #run(example: TrainingExample, banks: Banks, slots: Slots | undefined): Promise<number> {
    const { weights } = example;
    const n = weights.findLastIndex((weight) => weight !== 0) + 1; // what follows changes nothing
    if (n === 0) return 0;
    if (n > this.maxTokens || n >= example.ids.length) {
      throw new Error(
        `a pass over ${n} tokens of ${example.ids.length}, ${this.maxTokens} at most`,
      );
    }
    const { layers } = this.#config;
    const { inputs } = this.#state;

    this.#backend.embed(inputs[0]!, this.#weights.embedding, example.ids.slice(0, n));
    for (let layer = 0; layer < layers; layer++) {
      this.#forwardLayer(layer, n, banks);
      this.#finishLayer(layer, n, banks);
    }
    const loss = await this.#head(example, n, banks, slots);
    if (slots === undefined) return loss;

    // Below the lowest layer with a bank nothing wants a gradient.
    const lowest = lowestLayer(this.#weights, slots, layers);
    for (let layer = layers - 1; layer >= lowest; layer--) {
      // what the forward pass left behind still holds for the last layer
      if (layer < layers - 1) this.#forwardLayer(layer, n, banks);
      this.#backwardLayer(layer, n, banks, slots);
    }
    return loss;
  }

  /** All of a layer but its last product; see `Decoder` for the same steps over a whole cache. */
  #forwardLayer(layer: number, n: number, banks: Banks): void {
    const backend = this.#backend;
    const { rmsNormEps: eps, noRopeLayers } = this.#config;
    const { inputs, attentionNorm, qProduct, kProduct, q, k, v, attention } = this.#state;
    const { middle, mlpNorm, gate, up, product } = this.#state;
    const x = inputs[layer]!;
    const w = this.#weights.layers[layer]!;

    backend.rmsNorm(attentionNorm, x, w.attentionNorm, eps, n);
    backend.linear(attentionNorm, n, [
      output(qProduct, w.qProj, banks),
      output(kProduct, w.kProj, banks),
      output(v, w.vProj, banks),
    ]);
    if (w.qNorm !== undefined) backend.rmsNorm(q, qProduct, w.qNorm, eps, n);
    if (w.kNorm !== undefined) backend.rmsNorm(k, kProduct, w.kNorm, eps, n);
    const spans = [{ cache: this.#cache, position: 0, n }];
    if (!noRopeLayers.includes(layer)) {
      backend.rope(q, this.#rope, spans);
      backend.rope(k, this.#rope, spans);
    }
    backend.writeKv(0, k, v, spans);
    backend.attention(attention, q, 0, spans);
    this.#gradients.copy(middle, x, n);
    backend.linear(attention, n, [output(middle, w.oProj, banks, true)]);

    backend.rmsNorm(mlpNorm, middle, w.mlpNorm, eps, n);
    backend.linear(mlpNorm, n, [output(gate, w.gateProj, banks), output(up, w.upProj, banks)]);
    backend.siluMul(product, gate, up, n);
  }

  /** The last product, into the next layer's input. */
  #finishLayer(layer: number, n: number, banks: Banks): void {
    const { inputs, middle, product } = this.#state;
    const next = inputs[layer + 1]!;
    this.#gradients.copy(next, middle, n);
    const { downProj } = this.#weights.layers[layer]!;
    this.#backend.linear(product, n, [output(next, downProj, banks, true)]);
  }

  /**
   * Final norm, head and loss of all scored rows, a few at a time; with slots also their gradient, down to the stream
   * after the last layer in `dX`.
   */
  async #head(
    { ids, weights }: TrainingExample,
    n: number,
    banks: Banks,
    slots: Slots | undefined,
  ): Promise<number> {
    const backend = this.#backend;
    const gradients = this.#gradients;
    const { rmsNormEps: eps, layers } = this.#config;
    const { norm, lmHead } = this.#weights;
    const { inputs, logits, losses, dX, dNorm, dM } = this.#state;
    const x = inputs[layers]!;
    const normed = dX; // not in use yet; the other norms belong to the last layer's backward pass
    backend.rmsNorm(normed, x, norm, eps, n);
    if (slots !== undefined) gradients.clear(dNorm, n);

    let loss = 0;
    for (const [start, end] of scoredRows(weights, n, logits.rows)) {
      const rows = end - start;
      backend.linear(normed, rows, [output(logits, lmHead, banks)], start);
      gradients.crossEntropy(
        logits,
        losses,
        ids.slice(start + 1, end + 1),
        weights.slice(start, end),
        rows,
      );
      for (const value of await backend.read(losses, 0, rows)) loss += value;
      if (slots === undefined) continue;
      const product = gradientOf(logits, lmHead, banks, slots);
      gradients.linearBackward(dNorm, normed, dM, rows, [product], { row: start });
    }
    if (slots !== undefined) {
      gradients.clear(dX, n);
      gradients.rmsNormBackward(dX, dNorm, x, norm, eps, n);
    }
    return loss;
  }

  /** dX: from the gradient of the layer's output to that of its input. */
  #backwardLayer(layer: number, n: number, banks: Banks, slots: Slots): void {
    const gradients = this.#gradients;
    const { rmsNormEps: eps, headDim, noRopeLayers } = this.#config;
    const state = this.#state;
    const { dX, dNorm, dQ, dK, dV, dAttention, dGate, dUp, dM } = state;
    const w = this.#weights.layers[layer]!;
    const of = (dOut: Tensor, linear: LinearWeights): LinearGradient =>
      gradientOf(dOut, linear, banks, slots);

    gradients.linearBackward(dGate, state.product, dM, n, [of(dX, w.downProj)]);
    gradients.siluMulBackward(dGate, dUp, dGate, state.gate, state.up, n);
    gradients.linearBackward(dNorm, state.mlpNorm, dM, n, [
      of(dGate, w.gateProj),
      of(dUp, w.upProj),
    ]);
    gradients.rmsNormBackward(dX, dNorm, state.middle, w.mlpNorm, eps, n);

    gradients.linearBackward(dAttention, state.attention, dM, n, [of(dX, w.oProj)]);
    gradients.attentionBackward(dQ, dK, dV, dAttention, state.q, state.k, state.v, headDim, n);
    if (!noRopeLayers.includes(layer)) {
      gradients.ropeBackward(dQ, n, this.#rope, 0);
      gradients.ropeBackward(dK, n, this.#rope, 0);
    }
    this.#normBackward(state.dQProduct, dQ, state.qProduct, w.qNorm, n);
    this.#normBackward(state.dKProduct, dK, state.kProduct, w.kNorm, n);
    gradients.linearBackward(dNorm, state.attentionNorm, dM, n, [
      of(state.dQProduct, w.qProj),
      of(state.dKProduct, w.kProj),
      of(dV, w.vProj),
    ]);
    gradients.rmsNormBackward(dX, dNorm, state.inputs[layer]!, w.attentionNorm, eps, n);
  }

  /** Of the norm of q's or k's heads: overwrites dX. Without a norm dX is dOut. */
  #normBackward(dX: Tensor, dOut: Tensor, x: Tensor, norm: Vector | undefined, n: number): void {
    if (norm === undefined) return;
    this.#gradients.clear(dX, n);
    this.#gradients.rmsNormBackward(dX, dOut, x, norm, this.#config.rmsNormEps, n);
  }

  #createState(): PassState {
    const { hiddenSize, heads, kvHeads, headDim, intermediateSize, vocabSize, layers, qkNorm } =
      this.#config;
    const n = this.maxTokens;
    const queries = heads * headDim;
    const keys = kvHeads * headDim;
    const tensor = (rows: number, cols: number): Tensor =>
      this.#keep(this.#backend.createTensor(rows, cols));
    const rows = Math.min(n, Math.max(MIN_LOGITS_ROWS, Math.floor(LOGITS_NUMBERS / vocabSize)));
    const [q, k] = [tensor(n, queries), tensor(n, keys)];
    const [dQ, dK] = [tensor(n, queries), tensor(n, keys)];
    return {
      inputs: Array.from({ length: layers + 1 }, () => tensor(n, hiddenSize)),
      attentionNorm: tensor(n, hiddenSize),
      qProduct: qkNorm ? tensor(n, queries) : q,
      kProduct: qkNorm ? tensor(n, keys) : k,
      q,
      k,
      v: tensor(n, keys),
      attention: tensor(n, queries),
      middle: tensor(n, hiddenSize),
      mlpNorm: tensor(n, hiddenSize),
      gate: tensor(n, intermediateSize),
      up: tensor(n, intermediateSize),
      product: tensor(n, intermediateSize),
      logits: tensor(rows, vocabSize),
      losses: tensor(rows, 1),
      dX: tensor(n, hiddenSize),
      dNorm: tensor(n, hiddenSize),
      dQProduct: qkNorm ? tensor(n, queries) : dQ,
      dKProduct: qkNorm ? tensor(n, keys) : dK,
      dQ,
      dK,
      dV: tensor(n, keys),
      dAttention: tensor(n, queries),
      dGate: tensor(n, intermediateSize),
      dUp: tensor(n, intermediateSize),
      dM: tensor(1, this.slots),
    };
  }

  #keep<H extends Handle>(handle: H): H {
    this.#handles.push(handle);
    return handle;
  }
}

function output(
  out: Tensor,
  { info, matrix, bias }: LinearWeights,
  banks: Banks,
  accumulate = false,
): LinearOutput {
  const bank = banks.get(info.path) ?? NO_ENTRIES;
  return { out, weight: matrix, bias, bank, accumulate };
}

function gradientOf(
  dOut: Tensor,
  { info, matrix }: LinearWeights,
  banks: Banks,
  slots: Slots,
): LinearGradient {
  const bank = banks.get(info.path) ?? NO_ENTRIES;
  return { dOut, weight: matrix, bank, slots: slots.get(info.path) ?? NO_SLOTS };
}

/** Ranges [start, end) of at most `limit` rows that cover all scored rows of 0..n-1, skipping what lies between. */
function* scoredRows(
  weights: readonly number[],
  n: number,
  limit: number,
): Generator<[number, number]> {
  let start = 0;
  while (start < n) {
    if (weights[start] === 0) {
      start++;
      continue;
    }
    let end = Math.min(start + limit, n);
    while (weights[end - 1] === 0) end--;
    yield [start, end];
    start = end;
  }
}

/** The lowest decoder layer with a slot; `layers` if there is none. */
function lowestLayer({ linears }: DecoderWeights, slots: Slots, layers: number): number {
  let lowest = layers;
  for (const [path, { info }] of linears) {
    if (info.layer >= 0 && (slots.get(path)?.length ?? 0) > 0)
      lowest = Math.min(lowest, info.layer);
  }
  return lowest;
}
