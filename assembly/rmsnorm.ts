// out = [out +] x / sqrt(mean(x²) + eps) ⊙ weight, per row (arXiv 1910.07467, eq. 4): a token, or a head of one. Split over threads by row.
// The sum of squares has four lanes (column mod 4), added as (l0 + l1) + (l2 + l3); the last cols % 4 follow one by one.
import { split } from "./layout";

/**
 * out, x   [n, cols] f32; may be the same unless `add`
 * weight   [cols] f32
 * add      to what is in out
 */
export function rmsnorm_f32(
  out: usize,
  x: usize,
  weight: usize,
  n: i32,
  cols: i32,
  eps: f32,
  add: bool,
  tid: i32,
  threads: i32,
): void {
  const rowBytes = usize(cols) << 2;
  const bytes4 = usize(cols & ~3) << 2;
  for (let i = split(n, tid, threads), end = split(n, tid + 1, threads); i < end; i++) {
    const from = x + usize(i) * rowBytes;
    const to = out + usize(i) * rowBytes;
    let squares = f32x4.splat(0);
    let offset: usize = 0;
    for (; offset < bytes4; offset += 16) {
      const value = v128.load(from + offset);
      squares = f32x4.add(squares, f32x4.mul(value, value));
    }
    let sum =
      f32x4.extract_lane(squares, 0) +
      f32x4.extract_lane(squares, 1) +
      (f32x4.extract_lane(squares, 2) + f32x4.extract_lane(squares, 3));
    for (; offset < rowBytes; offset += 4) {
      const value = load<f32>(from + offset);
      sum += value * value;
    }
    const inverse: f32 = 1 / sqrt<f32>(sum / f32(cols) + eps);
    for (offset = 0; offset < bytes4; offset += 16) {
      const scaled = f32x4.mul(v128.load(from + offset), f32x4.splat(inverse));
      const value = f32x4.mul(scaled, v128.load(weight + offset));
      v128.store(to + offset, add ? f32x4.add(v128.load(to + offset), value) : value);
    }
    for (; offset < rowBytes; offset += 4) {
      const value = load<f32>(from + offset) * inverse * load<f32>(weight + offset);
      store<f32>(to + offset, add ? load<f32>(to + offset) + value : value);
    }
  }
}
