// out = silu(gate) ⊙ up, silu(z) = z / (1 + e^-z) (SwiGLU, arXiv 2002.05202).
import { exp_f32x4 } from "./exp";
import { split } from "./layout";
import { load_rows, put_rows } from "./store";

/** out, gate, up  [count] f32; out may be gate. */
export function silu_mul_f32(
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
    const silu = f32x4.div(z, f32x4.add(f32x4.splat(1), exp_f32x4(f32x4.neg(z))));
    put_rows(out + offset, f32x4.mul(silu, load_rows(up + offset, nRows)), nRows);
  }
}
