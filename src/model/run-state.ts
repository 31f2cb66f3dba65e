// What a decoder holds from pass to pass: activations of one chunk, and the products of every linear layer, so that a pass
// allocates next to nothing.
import type { Backend, BankEntry, LinearOutput, Tensor, Vector } from "../backend/backend.ts";
import type { ModelConfig } from "./config.ts";
import type { PassBanks } from "./row-banks.ts";
import type { DecoderWeights, LinearWeights } from "./weights.ts";

/** Rows of logits held at once. */
const LOGITS_ROWS = 16;

/** Activations of one chunk. */
export interface RunState {
  readonly x: Tensor; // residual stream [chunk, hiddenSize]
  readonly xNorm: Tensor; // normed input of attention, MLP or head; outputs that are to be normed [chunk, hiddenSize]
  readonly q: Tensor; // [chunk, heads × headDim]
  readonly k: Tensor; // [chunk, kvHeads × headDim]
  readonly v: Tensor; // [chunk, kvHeads × headDim]
  readonly attention: Tensor; // [chunk, heads × headDim]
  readonly gate: Tensor; // [chunk, intermediateSize]
  readonly up: Tensor; // [chunk, intermediateSize]
  readonly logits: Tensor; // [LOGITS_ROWS or chunk, vocabSize]
}

/** @throws TureenError `OUT_OF_MEMORY`; nothing is left allocated then */
export function createRunState(backend: Backend, config: ModelConfig, chunk: number): RunState {
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

const NO_ENTRIES: readonly BankEntry[] = [];

/** One linear layer's product; only its bank changes from pass to pass. */
interface Product extends LinearOutput {
  readonly path: string;
  bank: readonly BankEntry[];
}

/** The products of one decoder layer; those of a list share their input. */
export interface LayerProducts {
  readonly qkv: readonly Product[];
  readonly o: readonly Product[];
  readonly gateUp: readonly Product[];
  readonly down: readonly Product[];
}

export class Products {
  readonly layers: readonly LayerProducts[];
  readonly head: readonly [Product];
  readonly #all: readonly Product[];

  constructor({ layers, lmHead }: DecoderWeights, state: RunState) {
    // into the stream, or first where a norm reads it
    const branch = (linear: LinearWeights, norm: Vector | undefined): Product =>
      norm === undefined ? product(state.x, linear, true) : product(state.xNorm, linear);
    this.layers = layers.map((w) => ({
      qkv: [product(state.q, w.qProj), product(state.k, w.kProj), product(state.v, w.vProj)],
      o: [branch(w.oProj, w.attentionOutputNorm)],
      gateUp: [product(state.gate, w.gateProj), product(state.up, w.upProj)],
      down: [branch(w.downProj, w.mlpOutputNorm)],
    }));
    this.head = [product(state.logits, lmHead)];
    const lists = this.layers.map(({ qkv, o, gateUp, down }) => [qkv, o, gateUp, down]);
    this.#all = [...lists.flat(2), ...this.head];
  }

  /** From now on with these entries. */
  use(banks: PassBanks): void {
    for (const one of this.#all) one.bank = banks.get(one.path) ?? NO_ENTRIES;
  }
}

function product(out: Tensor, { info, matrix, bias }: LinearWeights, accumulate = false): Product {
  return { path: info.path, out, weight: matrix, bias, bank: NO_ENTRIES, accumulate };
}
