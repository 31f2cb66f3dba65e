// The weights of norms as backends take them: x̂ ⊙ weight.
import type { ModelConfig } from "./config.ts";

/**
 * In place. Gemma 3 norms to x̂ ⊙ (1 + weight), and where its attention divides scores by another root than that of the heads' size,
 * q's norm makes up for it.
 * @param name transformers' name of any vector
 */
export function adjustNorm(values: Float32Array, name: string, config: ModelConfig): void {
  const { normOffset, queryScale } = config;
  if (!name.endsWith("norm.weight") || (normOffset === 0 && queryScale === 1)) return;
  const scale = name.endsWith("q_norm.weight") ? queryScale : 1;
  for (let i = 0; i < values.length; i++) values[i] = Math.fround(values[i]! + normOffset) * scale;
}
