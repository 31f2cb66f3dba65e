// llama.cpp's names of tensors, as transformers has them.

const GEMMA3 = "gemma3";

const TOP: Readonly<Record<string, string>> = {
  token_embd: "model.embed_tokens",
  output_norm: "model.norm",
  output: "lm_head",
};

const BLOCK: Readonly<Record<string, string>> = {
  attn_norm: "input_layernorm",
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  attn_q_norm: "self_attn.q_norm",
  attn_k_norm: "self_attn.k_norm",
  ffn_norm: "post_attention_layernorm",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
};

/** Where Gemma 3's names differ: its layers have four norms. */
const GEMMA3_BLOCK: Readonly<Record<string, string>> = {
  post_attention_norm: "post_attention_layernorm",
  ffn_norm: "pre_feedforward_layernorm",
  post_ffw_norm: "post_feedforward_layernorm",
};

/** Factors of Llama 3's rotary frequencies: the config's `rope_scaling`, not a weight. */
export const ROPE_FACTORS = "rope_freqs.weight";

/**
 * `blk.0.attn_q.weight` → `model.layers.0.self_attn.q_proj.weight`. What stands in a layer and has no name here comes out as
 * something unknown in that layer, so that nothing of a layer goes unnoticed.
 */
export function toHubName(name: string, architecture?: string): string {
  const inBlock = /^blk\.(\d{1,9})\.(.+?)(\.(?:weight|bias)(?:\..+)?)?$/.exec(name);
  if (inBlock !== null) {
    const [, layer, module = "", rest = ""] = inBlock;
    const special = architecture === GEMMA3 ? own(GEMMA3_BLOCK, module) : undefined;
    return `model.layers.${layer}.${special ?? own(BLOCK, module) ?? module}${rest}`;
  }
  const [, module = "", rest = ""] = /^(.+?)(\.(?:weight|bias)(?:\..+)?)?$/.exec(name) ?? [];
  return `${own(TOP, module) ?? module}${rest}`;
}

function own(table: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/**
 * Whether llama.cpp holds a tensor's rows in another order: for architectures `llama` and `smollm3`, its converter puts the two rows next to each
 * other that rotary positions turn together, in the weights and biases of q and k, and so in an adapter's B.
 */
export function isPermuted(architecture: string, name: string): boolean {
  const turnsNeighbours = architecture === "llama" || architecture === "smollm3";
  return turnsNeighbours && /^blk\.\d+\.attn_[qk]\.(weight(\.lora_b)?|bias)$/.test(name);
}

/** Whether llama.cpp's converter added 1 to a tensor: Gemma's norms multiply by 1 + weight. */
export function hasOneAdded(architecture: string, name: string): boolean {
  return architecture === GEMMA3 && name.endsWith("norm.weight");
}

/** The row of the file that is row `row` of transformers, in heads of `headDim` rows. */
export function permutedRow(row: number, headDim: number): number {
  const inHead = row % headDim;
  const half = headDim / 2;
  return row - inHead + (inHead < half ? 2 * inHead : 2 * (inHead - half) + 1);
}
