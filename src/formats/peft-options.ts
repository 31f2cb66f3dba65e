// Which options of adapter_config.json change what an adapter computes. Three kinds: those that parsePeftConfig understands,
// those that PEFT does not look at after training, and the rest, which are refused when active, so that an adapter is never
// applied as something it is not.
import { TureenError } from "../errors.ts";

/** Understood by parsePeftConfig. */
const UNDERSTOOD: readonly string[] = [
  "peft_type",
  "r",
  "lora_alpha",
  "use_rslora",
  "rank_pattern",
  "alpha_pattern",
  "target_modules",
  "exclude_modules",
  "layers_to_transform",
  "layers_pattern",
  "fan_in_fan_out",
  "bias", // the biases themselves are tensors, and refused where the tensors are read
  "lora_bias",
  "modules_to_save",
  "init_lora_weights",
  "base_model_name_or_path",
  "peft_version",
];

/** Of no effect on inference with a Hugging Face Llama-family model in PEFT. */
const INERT: ReadonlySet<string> = new Set([
  "task_type",
  "auto_mapping",
  "revision",
  "inference_mode",
  "runtime_config",
  "lora_dropout",
  "loftq_config", // used with init_lora_weights: "loftq" only, which is refused
  "eva_config",
  "corda_config", // likewise
  "lora_ga_config", // likewise
  "megatron_config", // concerns Megatron's own parallel layers only
  "megatron_core",
  "qalora_group_size", // used with use_qalora only
  "velora_config", // another backward pass
  "monteclora_config", // samples in training, plain LoRA otherwise
  "ensure_weight_tying", // concerns embeddings, whose tensors are refused
  "merge_weights", // old PEFT: when to merge
  "lora_dtype", // ms-swift: training
  "lorap_lr_ratio",
  "lorap_emb_lr",
]);

/** Options that change the mathematics. */
const VARIANTS: ReadonlyMap<string, string> = new Map([
  ["use_dora", "DoRA"],
  ["use_qalora", "QA-LoRA"],
  ["use_bdlora", "BD-LoRA (block-diagonal factors)"],
  ["kasa_config", "KaSA (it truncates the base weights)"],
  ["arrow_config", "Arrow routing"],
  ["alora_invocation_tokens", "aLoRA (active after its invocation tokens only)"],
  ["layer_replication", "layer replication"],
  ["target_parameters", "LoRA on parameters"],
  ["trainable_token_indices", "a trained token embedding"],
]);

/** Initialisations that leave the base model alone. */
const PLAIN_INITS: ReadonlySet<unknown> = new Set([
  undefined,
  null,
  true,
  false,
  "gaussian",
  "eva",
  "orthogonal",
  "mica",
]);

const HINT = "Only plain LoRA adapters load: convert it with PEFT, or train it as plain LoRA.";

/**
 * Refuses what is not plain LoRA.
 * @throws TureenError `ADAPTER_UNSUPPORTED` naming the PEFT type or option; `ADAPTER_CONFIG_INVALID` if there is no PEFT type
 */
export function refuseUnsupportedOptions(
  config: Readonly<Record<string, unknown>>,
  where: string,
): void {
  refuseOtherTypes(config, where);
  for (const [key, title] of VARIANTS) {
    if (isActive(config[key])) throw unsupported(title, key, config[key], where);
  }
  const init = config.init_lora_weights;
  if (!PLAIN_INITS.has(typeof init === "string" ? init.toLowerCase() : init)) {
    throw new TureenError(
      "ADAPTER_UNSUPPORTED",
      `adapters initialised by ${printable(init)} are not supported: they need a changed base model`,
      {
        expected: "plain LoRA",
        found: `init_lora_weights: ${printable(init)}`,
        where,
        hint: "Save it with PEFT's path_initial_model_for_weight_conversion, which makes it plain LoRA.",
      },
    );
  }
  for (const [key, value] of Object.entries(config)) {
    if (UNDERSTOOD.includes(key) || INERT.has(key) || VARIANTS.has(key)) continue;
    if (isActive(value) && !isEmptyObject(value)) {
      throw unsupported("an option unknown to this version", key, value, where);
    }
  }
}

function refuseOtherTypes(config: Readonly<Record<string, unknown>>, where: string): void {
  const type = config.peft_type;
  if (type === "LORA") return;
  if (typeof type === "string") {
    throw new TureenError(
      "ADAPTER_UNSUPPORTED",
      `adapters of type ${type.slice(0, 40)} are not supported`,
      {
        expected: "peft_type: LORA",
        found: printable(type),
        where,
      },
    );
  }
  throw new TureenError("ADAPTER_CONFIG_INVALID", "the adapter's config has no peft_type", {
    expected: "peft_type: LORA",
    found: printable(type),
    where,
    ...("model_type" in config ? { hint: "This looks like a model's config." } : {}),
  });
}

/** Python's truth, except that an empty object counts: PEFT makes a sub-config with defaults of it. */
function isActive(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  return Boolean(value);
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

function unsupported(title: string, key: string, value: unknown, where: string): TureenError {
  return new TureenError("ADAPTER_UNSUPPORTED", `${title} is not supported`, {
    expected: "plain LoRA",
    found: `${key.slice(0, 40)}: ${printable(value)}`,
    where,
    hint: HINT,
  });
}

function printable(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
