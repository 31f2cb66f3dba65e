// tureen bench --backend webgpu --plan: the counts of webgpu-plan.ts for well-known shapes, as a table.
import { parseModelConfig } from "../model/config.ts";
import { formatTable, print, printJson } from "./output.ts";
import { planToken } from "./webgpu-plan.ts";

const LLAMA = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
};

/** The fields of config.json that shape a model. */
export const PLAN_SHAPES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "SmolLM2-135M": {
    ...LLAMA,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
    max_position_embeddings: 8192,
    tie_word_embeddings: true,
  },
  "Qwen3-0.6B": {
    ...LLAMA,
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    rms_norm_eps: 1e-6,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    head_dim: 128,
    vocab_size: 151936,
    max_position_embeddings: 40960,
    tie_word_embeddings: true,
  },
  "Llama-3.2-1B": {
    ...LLAMA,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 64,
    vocab_size: 128256,
    max_position_embeddings: 131072,
    tie_word_embeddings: true,
  },
  "Llama-3.2-3B": {
    ...LLAMA,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 28,
    num_attention_heads: 24,
    num_key_value_heads: 8,
    head_dim: 128,
    vocab_size: 128256,
    max_position_embeddings: 131072,
    tie_word_embeddings: true,
  },
  "Llama-2-7B": {
    ...LLAMA,
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    vocab_size: 32000,
    max_position_embeddings: 4096,
  },
};

const RANK = 16;
const POSITION = 128;
const CONTEXT = 2048;

export async function printPlans(json: boolean): Promise<void> {
  const rows = [];
  for (const [shape, config] of Object.entries(PLAN_SHAPES)) {
    for (const adapters of [0, 2]) {
      const plan = await planToken(parseModelConfig(config, undefined, shape), {
        type: "q4",
        adapters,
        rank: RANK,
        position: POSITION,
        contextLength: CONTEXT,
      });
      rows.push({ shape, adapters, ...plan });
    }
  }
  if (json) {
    printJson({ rows });
    return;
  }
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
  const head = [
    "shape, q4",
    "adapters",
    "dispatches / layer",
    "/ token",
    "submits",
    "MB read",
    "least MB",
    "ratio",
    "buffers",
    "largest MB",
    "all MB",
  ];
  const cells = rows.map((row) => [
    row.shape,
    row.adapters,
    row.dispatchesPerLayer,
    row.dispatches,
    row.submissions,
    megabytes(row.bytes),
    megabytes(row.leastBytes),
    (row.bytes / row.leastBytes).toFixed(3),
    row.buffers.length,
    megabytes(row.buffers[0]?.size ?? 0),
    megabytes(row.buffers.reduce((sum, { size }) => sum + size, 0)),
  ]);
  print(formatTable(head, cells));
  print(
    `One token decoded at position ${POSITION} of ${CONTEXT}, adapters of rank ${RANK} on all linear layers, on a device with ` +
      "WebGPU's least limits (128 MiB per binding). Counted from what would be submitted; nothing is computed.",
  );
}
