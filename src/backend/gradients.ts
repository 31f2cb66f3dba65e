// The backward half of the backend contract: what learning needs beside the forward operations. dX always stands for
// dLoss / dX. The same rules hold as in backend.ts: operations are recorded, arguments captured, results seen through `read`.
//
// Quantization is passed straight through: products with quantized weights are differentiated as if activations were not
// rounded. On f32 weights the gradients are exact but for f32 rounding.
import type { Matrix, Rope, SoupEntry, Tensor, Vector } from "./backend.ts";

/** One product of a `linearBackward` call, the counterpart of `LinearOutput`. */
export interface LinearGradient {
  /** dLoss / d(out) [n, weight.rows] */
  readonly dOut: Tensor;
  readonly weight: Matrix;
  /** As in the forward pass; entries with m = 0 take part too, so that their gradient is known. */
  readonly bank: readonly SoupEntry[];
  /** Where the gradient of entry i's m is added: column `slots[i]` of `dM`. */
  readonly slots: readonly number[];
}

export interface Gradients {
  /**
   * Next-token cross-entropy. For rows i < n: losses[i] = weights[i] · -log softmax(logits[i])[targets[i]], and logits[i]
   * becomes dLoss / dlogits[i] = weights[i] · (softmax(logits[i]) - onehot(targets[i])).
   * logits [n.., vocabulary]; losses [n.., 1]
   */
  crossEntropy(
    logits: Tensor,
    losses: Tensor,
    targets: ArrayLike<number>,
    weights: ArrayLike<number>,
    n: number,
  ): void;

  /**
   * Several products that shared their input x [n, in]:
   * dX = [dX +] Σ_products (Wᵀ dOut + Σ_entries m · Aᵀ (Bᵀ dOut)),
   * dM[0, slot] += Σ_tokens ⟨dOut, B (A x) + segment bias⟩ for every entry.
   * First n rows of all. dM [1, slots]. Rows of x from `row` on, rows of dX from `row` on.
   */
  linearBackward(
    dX: Tensor,
    x: Tensor,
    dM: Tensor,
    n: number,
    products: readonly LinearGradient[],
    options?: { readonly accumulate?: boolean; readonly row?: number },
  ): void;

  /**
   * Of out = x / sqrt(mean(x²) + eps) ⊙ weight: with r = 1 / sqrt(mean(x²) + eps) and g = dOut ⊙ weight,
   * dX += r · g - x · r³ · mean(g ⊙ x), over every `weight.length` columns. `dX` is added to (the residual stream). First n rows.
   */
  rmsNormBackward(
    dX: Tensor,
    dOut: Tensor,
    x: Tensor,
    weight: Vector,
    eps: number,
    n: number,
  ): void;

  /** The transpose of `rope`: rotates dX [n, heads × headDim] back, in place. */
  ropeBackward(dX: Tensor, n: number, rope: Rope, position: number): void;

  /**
   * Of causal attention over one whole sequence of n tokens (positions 0..n-1), q and k after rotary embedding:
   * q, dQ, dOut [n, heads × headDim]; k, v, dK, dV [n, kvHeads × headDim]. Overwrites dQ, dK and dV.
   * @param window as in `attention`
   */
  attentionBackward(
    dQ: Tensor,
    dK: Tensor,
    dV: Tensor,
    dOut: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    headDim: number,
    n: number,
    window?: number,
  ): void;

  /**
   * Of out = silu(gate) ⊙ up. Overwrites: dUp = dOut ⊙ silu(gate), dGate = dOut ⊙ up ⊙ σ(gate) (1 + gate (1 - σ(gate))).
   * dGate may be dOut.
   */
  siluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void;

  /**
   * Of out = gelu(gate) ⊙ up, as `geluMul` has it: with s = σ(2u), dUp = dOut ⊙ gate s,
   * dGate = dOut ⊙ up ⊙ s (1 + 2 gate u′ (1 - s)), u′ = √(2/π) (1 + 3 · 0.044715 gate²). dGate may be dOut.
   */
  geluMulBackward(
    dGate: Tensor,
    dUp: Tensor,
    dOut: Tensor,
    gate: Tensor,
    up: Tensor,
    n: number,
  ): void;

  /** Sets the first n rows to zero. */
  clear(x: Tensor, n: number): void;
  /** First n rows of `from` into `to`. */
  copy(to: Tensor, from: Tensor, n: number): void;
}
