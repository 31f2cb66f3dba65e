// The backward pass of the decoder, written once for all backends: dLoss / dm for every bank entry, of one example at a time.
// Only each layer's input is kept from the forward pass; the rest of a layer is computed again when its turn comes, so that
// memory grows with layers × tokens × hiddenSize, no faster. Base weights and adapters get no gradients.
import type {
  Backend,
  Handle,
  KvCache,
  LinearOutput,
  SoupEntry,
  Tensor,
  Vector,
} from "../backend/backend.ts";
import type { Gradients, LinearGradient } from "../backend/gradients.ts";
import { TureenError } from "../errors.ts";
import { findWindow, type ModelConfig } from "../model/config.ts";
import type { Banks } from "../model/decoder.ts";
import { Ropes } from "../model/ropes.ts";
import type { DecoderWeights, LinearWeights } from "../model/weights.ts";
import { createPassState, type PassState } from "./pass-state.ts";

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

const NO_ENTRIES: readonly SoupEntry[] = [];
const NO_SLOTS: readonly number[] = [];

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
  readonly #ropes: Ropes;

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
    const { kvHeads, headDim } = config;
    const length = maxTokens;
    this.#ropes = new Ropes(backend, config);
    try {
      this.#cache = this.#keep(backend.createKvCache({ layers: 1, kvHeads, headDim, length }));
      this.#ropes.grow(length);
      this.#state = createPassState(config, this.maxTokens, this.slots, (rows, cols) =>
        this.#keep(backend.createTensor(rows, cols)),
      );
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
    this.#ropes.free();
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
    const { layers, embeddingScale } = this.#config;
    const { inputs } = this.#state;

    const ids = example.ids.slice(0, n);
    this.#backend.embed(inputs[0]!, this.#weights.embedding, ids, embeddingScale);
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

  /** All of a layer but what enters the next one; see `Decoder` for the same steps over a whole cache. */
  #forwardLayer(layer: number, n: number, banks: Banks): void {
    const backend = this.#backend;
    const { rmsNormEps: eps, activation } = this.#config;
    const { inputs, attentionNorm, qProduct, kProduct, q, k, v, attention } = this.#state;
    const { attentionOutput, middle, mlpNorm, gate, up, product, mlpOutput } = this.#state;
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
    const rope = this.#ropes.of(layer);
    if (rope !== undefined) {
      backend.rope(q, rope, spans);
      backend.rope(k, rope, spans);
    }
    backend.writeKv(0, k, v, spans);
    backend.attention(attention, q, 0, spans, findWindow(this.#config, layer));
    this.#gradients.copy(middle, x, n);
    const outputNorm = w.attentionOutputNorm;
    const isAdded = outputNorm === undefined;
    backend.linear(attention, n, [output(attentionOutput, w.oProj, banks, isAdded)]);
    if (!isAdded) backend.rmsNorm(middle, attentionOutput, outputNorm, eps, n, true);

    backend.rmsNorm(mlpNorm, middle, w.mlpNorm, eps, n);
    backend.linear(mlpNorm, n, [output(gate, w.gateProj, banks), output(up, w.upProj, banks)]);
    backend[`${activation}Mul`](product, gate, up, n);
    if (w.mlpOutputNorm) backend.linear(product, n, [output(mlpOutput, w.downProj, banks)]);
  }

  /** The last product, or its norm, into the next layer's input. */
  #finishLayer(layer: number, n: number, banks: Banks): void {
    const { inputs, middle, product, mlpOutput } = this.#state;
    const next = inputs[layer + 1]!;
    this.#gradients.copy(next, middle, n);
    const { downProj, mlpOutputNorm: norm } = this.#weights.layers[layer]!;
    if (norm) this.#backend.rmsNorm(next, mlpOutput, norm, this.#config.rmsNormEps, n, true);
    else this.#backend.linear(product, n, [output(next, downProj, banks, true)]);
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
    const { rmsNormEps: eps, headDim, activation } = this.#config;
    const state = this.#state;
    const { dX, dNorm, dOutput, dQ, dK, dV, dAttention, dGate, dUp, dM } = state;
    const w = this.#weights.layers[layer]!;
    const of = (dOut: Tensor, linear: LinearWeights): LinearGradient =>
      gradientOf(dOut, linear, banks, slots);

    this.#normBackward(dOutput, dX, state.mlpOutput, w.mlpOutputNorm, n);
    gradients.linearBackward(dGate, state.product, dM, n, [of(dOutput, w.downProj)]);
    gradients[`${activation}MulBackward`](dGate, dUp, dGate, state.gate, state.up, n);
    gradients.linearBackward(dNorm, state.mlpNorm, dM, n, [
      of(dGate, w.gateProj),
      of(dUp, w.upProj),
    ]);
    gradients.rmsNormBackward(dX, dNorm, state.middle, w.mlpNorm, eps, n);

    this.#normBackward(dOutput, dX, state.attentionOutput, w.attentionOutputNorm, n);
    gradients.linearBackward(dAttention, state.attention, dM, n, [of(dOutput, w.oProj)]);
    const window = findWindow(this.#config, layer);
    const { q, k, v } = state;
    gradients.attentionBackward(dQ, dK, dV, dAttention, q, k, v, headDim, n, window);
    const rope = this.#ropes.of(layer);
    if (rope !== undefined) {
      gradients.ropeBackward(dQ, n, rope, 0);
      gradients.ropeBackward(dK, n, rope, 0);
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

  /** Of the norm of q's or k's heads, or of an output: overwrites dX. Without a norm dX is dOut. */
  #normBackward(dX: Tensor, dOut: Tensor, x: Tensor, norm: Vector | undefined, n: number): void {
    if (norm === undefined) return;
    this.#gradients.clear(dX, n);
    this.#gradients.rmsNormBackward(dX, dOut, x, norm, this.#config.rmsNormEps, n);
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
