// AdamW and its learning rate, in f64. Only operations that IEEE 754 rounds one way (and sqrt is one of them): the same
// gradients give the same steps on every host.

/** AdamW's state as plain JSON. */
export interface OptimizerState {
  readonly first: readonly number[];
  readonly second: readonly number[];
  readonly beta1Power: number;
  readonly beta2Power: number;
}

const BETA1 = 0.9;
const BETA2 = 0.999;
const EPSILON = 1e-8;

/**
 * Decoupled weight decay (arXiv 1711.05101) with PyTorch's defaults: β = 0.9 and 0.999, ε = 1e-8.
 * x -= lr decay x; m, v = moving averages of g, g²; x -= lr m̂ / (sqrt(v̂) + ε)
 */
export class AdamW {
  readonly #decay: number;
  readonly #first: Float64Array;
  readonly #second: Float64Array;
  #beta1Power = 1;
  #beta2Power = 1;

  constructor(size: number, weightDecay: number) {
    this.#decay = weightDecay;
    this.#first = new Float64Array(size);
    this.#second = new Float64Array(size);
  }

  step(values: Float64Array, gradient: Float64Array, learningRate: number): void {
    this.#beta1Power *= BETA1;
    this.#beta2Power *= BETA2;
    const correction1 = 1 - this.#beta1Power;
    const correction2 = Math.sqrt(1 - this.#beta2Power);
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i]!;
      const m = BETA1 * this.#first[i]! + (1 - BETA1) * g;
      const v = BETA2 * this.#second[i]! + (1 - BETA2) * g * g;
      this.#first[i] = m;
      this.#second[i] = v;
      const decayed = values[i]! * (1 - learningRate * this.#decay);
      const denominator = Math.sqrt(v) / correction2 + EPSILON;
      values[i] = decayed - ((learningRate / correction1) * m) / denominator;
    }
  }

  get state(): OptimizerState {
    return {
      first: [...this.#first],
      second: [...this.#second],
      beta1Power: this.#beta1Power,
      beta2Power: this.#beta2Power,
    };
  }

  restore(state: OptimizerState): void {
    this.#first.set(state.first);
    this.#second.set(state.second);
    this.#beta1Power = state.beta1Power;
    this.#beta2Power = state.beta2Power;
  }
}

/** Scales a gradient down to a norm of at most `limit`. @returns the norm before */
export function clipGradient(gradient: Float64Array, limit: number): number {
  let squares = 0;
  for (const g of gradient) squares += g * g;
  const norm = Math.sqrt(squares);
  if (norm > limit) for (let i = 0; i < gradient.length; i++) gradient[i]! *= limit / norm;
  return norm;
}

/** How the learning rate falls after warm-up: to 0 along a line or half a cosine, or not at all. */
export type Schedule = "linear" | "cosine" | "constant";

export const SCHEDULES: readonly Schedule[] = ["linear", "cosine", "constant"];

/**
 * The learning rate's factor at a step (0, 1, …) of `steps`: rises over the first `warmup` share of the steps, times the decay
 * 1 - step / steps or (1 + cos(π step / steps)) / 2.
 */
export function scheduleFactor(
  schedule: Schedule,
  step: number,
  steps: number,
  warmup: number,
): number {
  const rise = warmup > 0 ? Math.min(1, (step + 1) / (warmup * steps)) : 1;
  if (schedule === "constant") return rise;
  const t = step / steps;
  return rise * (schedule === "linear" ? 1 - t : (1 + cosPi(t)) / 2);
}

/** cos(π t) for t in 0..1 by its Taylor series (the first term left out is below 2^-55): `Math.cos` may differ among hosts. */
function cosPi(t: number): number {
  if (t > 0.5) return -cosPi(1 - t);
  const square = Math.PI * t * (Math.PI * t);
  let sum = 1;
  for (let k = 22; k >= 2; k -= 2) sum = 1 - (square / (k * (k - 1))) * sum;
  return sum;
}
