// The exponentials of a softmax: of one row of scores, whose sum divides them later.
import { exp_f32x4 } from "./exp";
import { greatest } from "./lanes";

/**
 * In place: e^(scale · score - max) for j < visible, 0 for visible <= j < limit rounded up to 4. visible >= 1.
 * Stores the maximum at `peak` and the sum behind it. The sum is taken in four lanes, (l0 + l1) + (l2 + l3).
 */
export function exponentiate(
  scores: usize,
  visible: i32,
  limit: i32,
  scale: f32,
  peak: usize,
): void {
  const end = scores + (((limit + 3) & ~3) << 2);
  for (let at = scores + (visible << 2); at < end; at += 4) store<f32>(at, -Infinity);
  const factor = f32x4.splat(scale);
  let top = f32x4.splat(-Infinity);
  for (let at = scores; at < end; at += 16) {
    const score = f32x4.mul(v128.load(at), factor);
    v128.store(at, score);
    top = f32x4.pmax(top, score);
  }
  const highest = greatest(top);
  const shift = f32x4.splat(highest);
  let sums = f32x4.splat(0);
  for (let at = scores; at < end; at += 16) {
    const weight = exp_f32x4(f32x4.sub(v128.load(at), shift));
    v128.store(at, weight);
    sums = f32x4.add(sums, weight);
  }
  store<f32>(peak, highest);
  store<f32>(
    peak,
    f32x4.extract_lane(sums, 0) +
      f32x4.extract_lane(sums, 1) +
      (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3)),
    4,
  );
}
