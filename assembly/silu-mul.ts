// out = silu(gate) ⊙ up, silu(z) = z / (1 + e^-z) (SwiGLU, arXiv 2002.05202).
import { exp_f32x4 } from "./exp";
import { split } from "./layout";

/** out, gate, up  [count] f32, count rounded up to 4 must be readable and writable; out may be gate. */
export function silu_mul_f32(out: usize, gate: usize, up: usize, count: i32, tid: i32, threads: i32): void {
  const quads = (count + 3) >> 2;
  const end = usize(split(quads, tid + 1, threads)) << 4;
  for (let offset = usize(split(quads, tid, threads)) << 4; offset < end; offset += 16) {
    const z = v128.load(gate + offset);
    const silu = f32x4.div(z, f32x4.add(f32x4.splat(1), exp_f32x4(f32x4.neg(z))));
    v128.store(out + offset, f32x4.mul(silu, v128.load(up + offset)));
  }
}
