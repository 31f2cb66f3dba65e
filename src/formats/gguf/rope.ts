// Rotary scaling in GGUF: metadata for linear scaling, a tensor of factors for Llama 3's; as config.json's `rope_scaling`.
import { TureenError } from "../../errors.ts";
import type { Metadata } from "./metadata.ts";

/** Of all Llama models that have factors. */
const LOW = 1;
const HIGH = 4;
const ORIGINAL_LENGTH = 8192;
/** Factors are f32, made from f32 wavelengths: some 1e-6 off. */
const TOLERANCE = 1e-4;

/**
 * @param factors of the tensor `rope_freqs.weight` [headDim / 2], if there is one: what each frequency is divided by
 * @throws TureenError `MODEL_UNSUPPORTED` for factors of another scaling
 */
export function toRopeScaling(
  metadata: Metadata,
  architecture: string,
  theta: number,
  factors: Float32Array | undefined,
  file: string,
): Record<string, unknown> | null {
  const key = (name: string): string => `${architecture}.rope.${name}`;
  const factor = metadata.number(key("scaling.factor")) ?? metadata.number(key("scale_linear"));
  const scales = factor !== undefined && factor !== 0 && factor !== 1;
  const type = metadata.text(key("scaling.type")) ?? (scales ? "linear" : "none");
  if (factors === undefined) {
    return type === "none" || (type === "linear" && !scales)
      ? null
      : { rope_type: type, factor: factor ?? 1 };
  }
  const original = metadata.number(key("scaling.original_context_length")) ?? ORIGINAL_LENGTH;
  const scaling = findLlama3(factors, theta, original);
  if (type === "none" && scaling !== undefined) return scaling;
  throw new TureenError("MODEL_UNSUPPORTED", "these rotary frequencies are not supported", {
    expected: "factors as Llama 3.1 and its successors have them",
    found: `${factors.length} other ones, rope.scaling.type ${type}`,
    where: `rope_freqs.weight in ${file}`,
  });
}

/**
 * The `llama3` scaling of which llama.cpp's converter made the factors: wavelengths above original / LOW are stretched by the
 * factor, those below original / HIGH stay, between them it interpolates. (transformers, `_compute_llama3_parameters`)
 */
function findLlama3(
  factors: Float32Array,
  theta: number,
  originalLength: number,
): Record<string, unknown> | undefined {
  const factor = factors.reduce((most, value) => Math.max(most, value), 1);
  for (const [j, found] of factors.entries()) {
    const wavelength = 2 * Math.PI * theta ** (j / factors.length);
    const smooth = (originalLength / wavelength - LOW) / (HIGH - LOW);
    const kept = Math.min(1, Math.max(0, smooth));
    const expected = 1 / ((1 - kept) / factor + kept);
    if (!(Math.abs(found - expected) <= TOLERANCE * expected)) return undefined;
  }
  return {
    rope_type: "llama3",
    factor,
    low_freq_factor: LOW,
    high_freq_factor: HIGH,
    original_max_position_embeddings: originalLength,
  };
}
