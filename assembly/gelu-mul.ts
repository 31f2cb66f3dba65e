// out = gelu(gate) ⊙ up and its gradient, gelu by the approximation with tanh (arXiv 1606.08415), which is one of a sigmoid:
// gelu(z) = z/2 (1 + tanh u) = z σ(2u), σ(x) = 1 / (1 + e^-x), 2u = z (a + b z²), a = √(8/π), b = 0.044715 a.
import { exp_f32x4 } from "./exp";
import { split } from "./layout";
import { load_rows, put_rows } from "./store";

const A: f32 = 1.5957691216057308;
const B: f32 = 0.07135481282640153;

/** -2u */
function negative_argument(z: v128): v128 {
  const slope = f32x4.add(f32x4.splat(-A), f32x4.mul(f32x4.splat(-B), f32x4.mul(z, z)));
  return f32x4.mul(z, slope);
}

/** out, gate, up  [count] f32; out may be gate. */
export function gelu_mul_f32(
  out: usize,
  gate: usize,
  up: usize,
  count: i32,
  tid: i32,
  threads: i32,
): void {
  const quads = (count + 3) >> 2;
  const end = split(quads, tid + 1, threads);
  for (let quad = split(quads, tid, threads); quad < end; quad++) {
    const offset = usize(quad) << 4;
    const nRows = count - (quad << 2);
    const z = load_rows(gate + offset, nRows);
    const power = exp_f32x4(negative_argument(z));
    const gelu = f32x4.div(z, f32x4.add(f32x4.splat(1), power));
    put_rows(out + offset, f32x4.mul(gelu, load_rows(up + offset, nRows)), nRows);
  }
}

/**
 * With s = σ(2u): dup = dout ⊙ gate s, dgate = dout ⊙ up ⊙ s (1 + gate (a + 3 b gate²) (1 - s)).
 * All [count] f32; dgate may be dout.
 */
export function gelu_mul_backward_f32(
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
    const argument = negative_argument(z);
    const s = f32x4.div(one, f32x4.add(one, exp_f32x4(argument)));
    const rest = f32x4.div(one, f32x4.add(one, exp_f32x4(f32x4.neg(argument)))); // 1 - s, without cancellation
    put_rows(dup + offset, f32x4.mul(d, f32x4.mul(z, s)), nRows);
    const bend = f32x4.add(f32x4.splat(A), f32x4.mul(f32x4.splat(3 * B), f32x4.mul(z, z)));
    const slope = f32x4.mul(s, f32x4.add(one, f32x4.mul(f32x4.mul(z, bend), rest)));
    put_rows(dgate + offset, f32x4.mul(f32x4.mul(d, load_rows(up + offset, nRows)), slope), nRows);
  }
}
