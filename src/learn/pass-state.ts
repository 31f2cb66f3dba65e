// What a backward pass holds: activations of one layer after another, and their gradients.
import type { Tensor } from "../backend/backend.ts";
import type { ModelConfig } from "../model/config.ts";

/** Logits held at once, in numbers: 4 MiB. A vocabulary larger than an eighth of it still gets 8 rows. */
const LOGITS_NUMBERS = 2 ** 20;
const MIN_LOGITS_ROWS = 8;

/** Activations and their gradients; rows are tokens. */
export interface PassState {
  readonly inputs: readonly Tensor[]; // residual stream before each layer, and after the last [n, hiddenSize]
  readonly attentionNorm: Tensor; // [n, hiddenSize]
  readonly qProduct: Tensor; // q before its norm, where the model has one; else q itself [n, heads × headDim]
  readonly kProduct: Tensor; // likewise [n, kvHeads × headDim]
  readonly q: Tensor; // [n, heads × headDim]
  readonly k: Tensor; // [n, kvHeads × headDim]
  readonly v: Tensor; // [n, kvHeads × headDim]
  readonly attention: Tensor; // [n, heads × headDim]
  readonly attentionOutput: Tensor; // before its norm, where the model has one; else middle itself [n, hiddenSize]
  readonly middle: Tensor; // residual stream between attention and MLP [n, hiddenSize]
  readonly mlpNorm: Tensor; // [n, hiddenSize]
  readonly gate: Tensor; // [n, intermediateSize]
  readonly up: Tensor; // [n, intermediateSize]
  readonly product: Tensor; // silu(gate) ⊙ up, or gelu [n, intermediateSize]
  readonly mlpOutput: Tensor; // before its norm, where the model has one [n, hiddenSize]
  readonly logits: Tensor; // [a few, vocabSize], then their gradient
  readonly losses: Tensor; // [a few, 1]
  readonly dX: Tensor; // of the residual stream [n, hiddenSize]
  readonly dNorm: Tensor; // of a normed input [n, hiddenSize]
  readonly dOutput: Tensor; // of attentionOutput and mlpOutput; else dX itself [n, hiddenSize]
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

/**
 * @param n tokens
 * @param tensor creates one
 */
export function createPassState(
  config: ModelConfig,
  n: number,
  slots: number,
  tensor: (rows: number, cols: number) => Tensor,
): PassState {
  const { hiddenSize, heads, kvHeads, headDim, intermediateSize, vocabSize } = config;
  const { layers, qkNorm, outputNorms } = config;
  const queries = heads * headDim;
  const keys = kvHeads * headDim;
  const rows = Math.min(n, Math.max(MIN_LOGITS_ROWS, Math.floor(LOGITS_NUMBERS / vocabSize)));
  const [q, k] = [tensor(n, queries), tensor(n, keys)];
  const [dQ, dK] = [tensor(n, queries), tensor(n, keys)];
  const [middle, dX] = [tensor(n, hiddenSize), tensor(n, hiddenSize)];
  const outputOr = (other: Tensor): Tensor => (outputNorms ? tensor(n, hiddenSize) : other);
  return {
    inputs: Array.from({ length: layers + 1 }, () => tensor(n, hiddenSize)),
    attentionNorm: tensor(n, hiddenSize),
    qProduct: qkNorm ? tensor(n, queries) : q,
    kProduct: qkNorm ? tensor(n, keys) : k,
    q,
    k,
    v: tensor(n, keys),
    attention: tensor(n, queries),
    attentionOutput: outputOr(middle),
    middle,
    mlpNorm: tensor(n, hiddenSize),
    gate: tensor(n, intermediateSize),
    up: tensor(n, intermediateSize),
    product: tensor(n, intermediateSize),
    mlpOutput: outputOr(middle),
    logits: tensor(rows, vocabSize),
    losses: tensor(rows, 1),
    dX,
    dNorm: tensor(n, hiddenSize),
    dOutput: outputOr(dX),
    dQProduct: qkNorm ? tensor(n, queries) : dQ,
    dKProduct: qkNorm ? tensor(n, keys) : dK,
    dQ,
    dK,
    dV: tensor(n, keys),
    dAttention: tensor(n, queries),
    dGate: tensor(n, intermediateSize),
    dUp: tensor(n, intermediateSize),
    dM: tensor(1, slots),
  };
}
