// out[t] += m · bias, for a segment whose B has a bias. Split over threads by token.
import { split } from "./layout";

/**
 * out     [n, outStride] f32, outStride in elements
 * bias    [rows] f32
 */
export function add_bias(
  out: usize,
  outStride: i32,
  bias: usize,
  n: i32,
  rows: i32,
  m: f32,
  tid: i32,
  threads: i32,
): void {
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const to = out + ((usize(i) * outStride) << 2);
    for (let row = 0; row < rows; row++) {
      const at = row << 2;
      store<f32>(to + at, load<f32>(to + at) + m * load<f32>(bias + at));
    }
  }
}
