// The smaller gradients of the decoder, and the loss. Split over threads by token.
import { exp_f32x4 } from "./exp";
import { split } from "./layout";
import { load_rows, put_rows } from "./store";

/**
 * Next-token cross-entropy of one row each: loss = weight · -log softmax(logits)[target]; the logits become
 * weight · (softmax(logits) - onehot(target)).
 * logits   [n, vocabulary] f32
 * losses   [n] f32
 * targets  [n] i32; weights [n] f32
 */
export function cross_entropy_f32(
  logits: usize,
  losses: usize,
  targets: usize,
  weights: usize,
  n: i32,
  vocabulary: i32,
  tid: i32,
  threads: i32,
): void {
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const row = logits + ((usize(i) * vocabulary) << 2);
    const target = row + (load<u32>(targets + (i << 2)) << 2);
    const weight = load<f32>(weights + (i << 2));
    const score = load<f32>(target);
    let peak: f32 = -Infinity;
    for (let c = 0; c < vocabulary; c++) peak = max(peak, load<f32>(row + (c << 2)));
    // Sums of 64 in f32, of those in f64.
    let sum: f64 = 0;
    for (let c = 0; c < vocabulary; c += 64) {
      let part = f32x4.splat(0);
      for (let at = c; at < min(c + 64, vocabulary); at += 4) {
        const power = exp_f32x4(
          f32x4.sub(load_rows(row + (at << 2), vocabulary - at), f32x4.splat(peak)),
        );
        put_rows(row + (at << 2), power, vocabulary - at);
        part = f32x4.add(part, keep_rows(power, vocabulary - at));
      }
      sum +=
        f64(f32x4.extract_lane(part, 0) + f32x4.extract_lane(part, 1)) +
        f64(f32x4.extract_lane(part, 2) + f32x4.extract_lane(part, 3));
    }
    const factor = f32x4.splat(f32(f64(weight) / sum));
    for (let c = 0; c < vocabulary; c += 4) {
      const at = row + (c << 2);
      put_rows(at, f32x4.mul(load_rows(at, vocabulary - c), factor), vocabulary - c);
    }
    store<f32>(target, load<f32>(target) - weight);
    store<f32>(
      losses + (i << 2),
      f32(f64(weight) * (NativeMath.log(sum) - (f64(score) - f64(peak)))),
    );
  }
}

/** Lanes past the end to 0. */
function keep_rows(value: v128, nRows: i32): v128 {
  if (nRows >= 4) return value;
  const lanes = i32x4(0, 1, 2, 3);
  return v128.and(value, i32x4.lt_s(lanes, i32x4.splat(nRows)));
}

/**
 * With r = 1 / sqrt(mean(x²) + eps), g = dout ⊙ weight: dx += r g - x r³ mean(g ⊙ x).
 * dx, dout, x  [n, cols] f32; weight [cols] f32. Sums in f64.
 */
export function rmsnorm_backward_f32(
  dx: usize,
  dout: usize,
  x: usize,
  weight: usize,
  n: i32,
  cols: i32,
  eps: f32,
  tid: i32,
  threads: i32,
): void {
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const row = (usize(i) * cols) << 2;
    let squares: f64 = 0;
    let products: f64 = 0;
    for (let c = 0; c < cols; c++) {
      const at = c << 2;
      const value = f64(load<f32>(x + row + at));
      squares += value * value;
      products += value * f64(load<f32>(dout + row + at)) * f64(load<f32>(weight + at));
    }
    const r = 1 / sqrt<f64>(squares / cols + f64(eps));
    const pull = (r * r * r * products) / cols;
    for (let c = 0; c < cols; c++) {
      const at = c << 2;
      const g = f64(load<f32>(dout + row + at)) * f64(load<f32>(weight + at));
      const gradient = r * g - f64(load<f32>(x + row + at)) * pull;
      store<f32>(dx + row + at, load<f32>(dx + row + at) + f32(gradient));
    }
  }
}

/**
 * dup = dout ⊙ silu(gate), dgate = dout ⊙ up ⊙ σ (1 + gate (1 - σ)), σ = 1 / (1 + e^-gate).
 * All [count] f32; dgate may be dout.
 */
export function silu_mul_backward_f32(
  dgate: usize,
  dup: usize,
  dout: usize,
  gate: usize,
  up: usize,
  count: i32,
  tid: i32,
  threads: i32,
): void {
  const quads = (count + 3) >> 2;
  const one = f32x4.splat(1);
  const end = split(quads, tid + 1, threads);
  for (let quad = split(quads, tid, threads); quad < end; quad++) {
    const offset = usize(quad) << 4;
    const nRows = count - (quad << 2);
    const d = load_rows(dout + offset, nRows);
    const z = load_rows(gate + offset, nRows);
    const sigma = f32x4.div(one, f32x4.add(one, exp_f32x4(f32x4.neg(z))));
    put_rows(dup + offset, f32x4.mul(d, f32x4.mul(z, sigma)), nRows);
    const slope = f32x4.mul(sigma, f32x4.add(one, f32x4.mul(z, f32x4.sub(one, sigma))));
    put_rows(dgate + offset, f32x4.mul(f32x4.mul(d, load_rows(up + offset, nRows)), slope), nRows);
  }
}
