// Rotary frequencies, written once for all backends. Only IEEE-exact arithmetic happens here; the power function comes from
// the backend, since a host's `Math.pow` may differ between engines.

/** Position scaling of a model, by transformers' names (`rope_type`). */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      /** `original_max_position_embeddings` */
      readonly originalLength: number;
    };

/**
 * Angle per position of each pair: theta^(-2j / headDim), j < headDim/2, then scaled.
 * Linear: divided by the factor. Llama 3: wavelengths above originalLength / lowFreqFactor are divided by the factor, those
 * below originalLength / highFreqFactor stay, between them interpolated (transformers, `_compute_llama3_parameters`).
 */
export function ropeFrequencies(
  headDim: number,
  theta: number,
  scaling: RopeScaling | undefined,
  pow: (base: number, exponent: number) => number,
): Float64Array {
  const frequencies = new Float64Array(headDim / 2);
  for (let j = 0; j < frequencies.length; j++) {
    const frequency = 1 / pow(theta, (2 * j) / headDim);
    frequencies[j] = scaling === undefined ? frequency : scale(frequency, scaling);
  }
  return frequencies;
}

function scale(frequency: number, scaling: RopeScaling): number {
  if (scaling.type === "linear") return frequency / scaling.factor;
  const { factor, lowFreqFactor, highFreqFactor, originalLength } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > originalLength / lowFreqFactor) return frequency / factor;
  if (wavelength < originalLength / highFreqFactor) return frequency;
  const smooth = (originalLength / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return (1 - smooth) * (frequency / factor) + smooth * frequency;
}
