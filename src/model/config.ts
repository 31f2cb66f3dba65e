// What the decoder needs to know of a model, parsed and checked from config.json. (Being written.)
import type { RopeScaling } from "../backend/rope-frequencies.ts";

/** A Llama-family decoder's shape. */
export interface ModelConfig {
  /** `model_type` */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** `max_position_embeddings` */
  readonly maxPositions: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | undefined;
  readonly tieWordEmbeddings: boolean;
  /** Bias on q, k, v (and o where `attentionOutputBias`). */
  readonly attentionBias: boolean;
  readonly attentionOutputBias: boolean;
  readonly mlpBias: boolean;
  readonly bosTokenIds: readonly number[];
  readonly eosTokenIds: readonly number[];
}

/** The linear layers of one decoder layer, by PEFT's and transformers' names, with their shapes [out, in]. */
export type LinearName = "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

/** A linear layer that adapters can target. */
export interface LinearInfo {
  /** Full module path without `.weight`: `model.layers.3.self_attn.q_proj`, or `lm_head`. The key of soups and banks. */
  readonly path: string;
  /** Decoder layer, or -1 for `lm_head`. */
  readonly layer: number;
  readonly name: LinearName | "lm_head";
  readonly rows: number;
  readonly cols: number;
}
