// The model and the adapters that all engines get: their shape, and every weight as a function of its name alone, so that
// files in two layouts can be written tensor by tensor from the same values. The benchmarks take shapes of their own.

/** SmolLM2-135M, as its config.json says it. */
export const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49152,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  tie_word_embeddings: true,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 1,
  eos_token_id: 2,
  torch_dtype: "float32",
};

/** Qwen3 in small: heads have a size of their own, wider together than the stream, and are normed. */
export const QWEN3_CONFIG = {
  ...CONFIG,
  architectures: ["Qwen3ForCausalLM"],
  model_type: "qwen3",
  hidden_size: 512,
  num_hidden_layers: 16,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 128,
  vocab_size: 8192,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  use_sliding_window: false,
};

/** SmolLM3 in small: every fourth layer without RoPE. */
export const SMOLLM3_CONFIG = {
  ...CONFIG,
  architectures: ["SmolLM3ForCausalLM"],
  model_type: "smollm3",
  hidden_size: 512,
  num_hidden_layers: 16,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  vocab_size: 8192,
  rms_norm_eps: 1e-6,
  rope_theta: 5000000,
  no_rope_layers: Array.from({ length: 16 }, (_, i) => (i % 4 === 3 ? 0 : 1)),
};

/** Gemma 3 in small: five layers in six see the last 24 positions; the sixth's positions are scaled, as in 4B and beyond. */
export const GEMMA3_CONFIG = {
  ...CONFIG,
  architectures: ["Gemma3ForCausalLM"],
  model_type: "gemma3_text",
  hidden_activation: "gelu_pytorch_tanh",
  hidden_size: 512,
  num_hidden_layers: 12,
  num_attention_heads: 4,
  num_key_value_heads: 1,
  head_dim: 256,
  query_pre_attn_scalar: 256,
  vocab_size: 8192,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  rope_scaling: { rope_type: "linear", factor: 8 },
  rope_local_base_freq: 10000,
  sliding_window: 24,
  layer_types: Array.from({ length: 12 }, (_, i) =>
    i % 6 === 5 ? "full_attention" : "sliding_attention",
  ),
};

/** Weights in the soup: `weight`. PEFT's scaling is `alpha / rank`, once above and once at 1. */
export const ADAPTERS = [
  { name: "first", rank: 16, alpha: 32, weight: 0.7 },
  { name: "second", rank: 16, alpha: 16, weight: 0.4 },
];

// Linear layers have the standard deviation of a fresh network, 1/√columns: a normalised input gives outputs near 1, and
// attention scores near 1, so that attention has favourites and wrong positions show. Embeddings are such that logits
// spread as a trained model's do (standard deviation 2.4). An adapter moves its layer's output by about a third.
const EMBEDDING_STD = 0.1;
// Norms of heads differ more from column to column, so that it shows which of the two columns that RoPE turns together is which.
const NORM_STD = 0.1;
const HEAD_NORM_STD = 0.3;
const LORA_B_STD = 0.04;

/**
 * `rotatedHeads`: heads that RoPE turns, where llama.cpp wants their rows in another order: not in Qwen3 and Gemma 3.
 * @typedef {{ path: string, gguf: string, rows: number, cols: number, rotatedHeads: number }} Linear
 */

/**
 * @param {typeof CONFIG} config
 * @returns {Linear[]} the decoder's linear layers, PEFT's targets
 */
export function listLinears(config = CONFIG) {
  const { hidden_size: hidden, intermediate_size: ffn } = config;
  const { num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const { head_dim: headDim = hidden / heads } = config;
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const isRotated = !/^(qwen3|gemma3_text)$/.test(config.model_type);
  const layer = (i) =>
    [
      ["self_attn.q_proj", "attn_q", q, hidden, isRotated ? heads : 0],
      ["self_attn.k_proj", "attn_k", kv, hidden, isRotated ? kvHeads : 0],
      ["self_attn.v_proj", "attn_v", kv, hidden, 0],
      ["self_attn.o_proj", "attn_output", hidden, q, 0],
      ["mlp.gate_proj", "ffn_gate", ffn, hidden, 0],
      ["mlp.up_proj", "ffn_up", ffn, hidden, 0],
      ["mlp.down_proj", "ffn_down", hidden, ffn, 0],
    ].map(([path, gguf, rows, cols, rotatedHeads]) => ({
      path: `model.layers.${i}.${path}`,
      gguf: `blk.${i}.${gguf}`,
      rows,
      cols,
      rotatedHeads,
    }));
  return Array.from({ length: config.num_hidden_layers }, (_, i) => layer(i)).flat();
}

/** Rows of whole blocks of 256, few layers, and a head of its own: for the types of GGUF. */
export const GGUF_CONFIG = {
  ...CONFIG,
  hidden_size: 768,
  intermediate_size: 2048,
  num_hidden_layers: 4,
  num_attention_heads: 12,
  num_key_value_heads: 4,
  vocab_size: 8192,
  tie_word_embeddings: false,
};

/**
 * @typedef {{ name: string, gguf: string, shape: number[], rotatedHeads: number, std?: number, more?: number, values: () => Float32Array }} Tensor
 *   std: of a matrix's values; more: what GGUF's values have beyond those
 * @returns {Tensor[]} the base model
 */
export function listModelTensors(config = CONFIG) {
  const { hidden_size: hidden, vocab_size: vocabulary, num_hidden_layers: layers } = config;
  const isGemma = config.model_type === "gemma3_text"; // whose norms multiply by 1 + weight
  const hasHeadNorms = isGemma || config.model_type === "qwen3";
  const norm = (name, gguf, size = hidden, std = NORM_STD) => ({
    name: `${name}.weight`,
    gguf: `${gguf}.weight`,
    shape: [size],
    rotatedHeads: 0,
    more: isGemma ? 1 : 0,
    values: () => uniform(name, size, isGemma ? 0 : 1, std),
  });
  const headNorm = (i, which) => {
    const name = `model.layers.${i}.self_attn.${which}_norm`;
    return norm(name, `blk.${i}.attn_${which}_norm`, config.head_dim, HEAD_NORM_STD);
  };
  const head = {
    name: "lm_head.weight",
    gguf: "output.weight",
    shape: [vocabulary, hidden],
    rotatedHeads: 0,
    std: 1 / Math.sqrt(hidden),
    values: () => uniform("lm_head", vocabulary * hidden, 0, 1 / Math.sqrt(hidden)),
  };
  return [
    {
      name: "model.embed_tokens.weight",
      gguf: "token_embd.weight",
      shape: [vocabulary, hidden],
      rotatedHeads: 0,
      std: EMBEDDING_STD,
      values: () => uniform("embed_tokens", vocabulary * hidden, 0, EMBEDDING_STD),
    },
    ...listLinears(config).map(({ path, gguf, rows, cols, rotatedHeads }) => ({
      name: `${path}.weight`,
      gguf: `${gguf}.weight`,
      shape: [rows, cols],
      rotatedHeads,
      std: 1 / Math.sqrt(cols),
      values: () => uniform(path, rows * cols, 0, 1 / Math.sqrt(cols)),
    })),
    ...Array.from({ length: layers }, (_, i) => [
      norm(`model.layers.${i}.input_layernorm`, `blk.${i}.attn_norm`),
      ...(isGemma
        ? [
            norm(`model.layers.${i}.post_attention_layernorm`, `blk.${i}.post_attention_norm`),
            norm(`model.layers.${i}.pre_feedforward_layernorm`, `blk.${i}.ffn_norm`),
            norm(`model.layers.${i}.post_feedforward_layernorm`, `blk.${i}.post_ffw_norm`),
          ]
        : [norm(`model.layers.${i}.post_attention_layernorm`, `blk.${i}.ffn_norm`)]),
      ...(hasHeadNorms ? [headNorm(i, "q"), headNorm(i, "k")] : []),
    ]).flat(),
    norm("model.norm", "output_norm"),
    ...(config.tie_word_embeddings ? [] : [head]),
  ];
}

/**
 * @param {(typeof ADAPTERS)[number]} adapter
 * @param {typeof CONFIG} config
 * @returns {Tensor[]} its A and B for every linear layer
 */
export function listAdapterTensors({ name, rank }, config = CONFIG) {
  return listLinears(config).flatMap(({ path, gguf, rows, cols, rotatedHeads }) => [
    {
      name: `base_model.model.${path}.lora_A.weight`,
      gguf: `${gguf}.weight.lora_a`,
      shape: [rank, cols],
      rotatedHeads: 0,
      values: () => uniform(`${name}.${path}.A`, rank * cols, 0, 1 / Math.sqrt(cols)),
    },
    {
      name: `base_model.model.${path}.lora_B.weight`,
      gguf: `${gguf}.weight.lora_b`,
      shape: [rows, rank],
      rotatedHeads,
      values: () => uniform(`${name}.${path}.B`, rows * rank, 0, LORA_B_STD),
    },
  ]);
}

/** @returns {number[][]} `count` sequences of `length` random ids, none of them a special token or byte */
export function randomSequences(count, length, vocabulary = CONFIG.vocab_size) {
  const FIRST = 300;
  return Array.from({ length: count }, (_, i) =>
    Array.from(uniform(`ids ${i}`, length, 0.5, 0.5 / Math.sqrt(3)), (x) =>
      Math.min(vocabulary - 1, FIRST + Math.floor(x * (vocabulary - FIRST))),
    ),
  );
}

/** Uniform values with the given mean and standard deviation; the name is the seed. */
function uniform(name, count, mean, std) {
  const next = generator(name);
  const values = new Float32Array(count);
  const width = std * Math.sqrt(12);
  for (let i = 0; i < count; i++) values[i] = mean + width * (next() / 2 ** 32 - 0.5);
  return values;
}

/** @returns {() => number} 32 random bits at a time */
export function generator(name) {
  return mulberry32(fnv1a(name));
}

function fnv1a(text) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}

/** Tommy Ettinger's 32-bit generator. */
function mulberry32(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
}
