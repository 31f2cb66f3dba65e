// Rotary position embedding (arXiv 2104.09864), halves against each other as Hugging Face's rotate_half:
//   x'[j] = x[j] cos - x[j + half] sin,  x'[j + half] = x[j + half] cos + x[j] sin,  j < half = headDim / 2
import { split } from "./layout";

/** base^exponent by the wasm standard library, not the host's. */
export function power(base: f64, exponent: f64): f64 {
  return NativeMath.pow(base, exponent);
}

/**
 * table        [length, 2, half] f32: cosines, then sines, of position × frequency
 * frequencies  [half] f64
 */
export function fill_rope(table: usize, frequencies: usize, half: i32, length: i32): void {
  for (let position = 0; position < length; position++) {
    const row = table + usize(position) * (half << 3);
    for (let j = 0; j < half; j++) {
      const angle = f64(position) * load<f64>(frequencies + (j << 3));
      store<f32>(row + (j << 2), f32(NativeMath.cos(angle)));
      store<f32>(row + ((half + j) << 2), f32(NativeMath.sin(angle)));
    }
  }
}

/**
 * x            [n, heads × headDim] f32, in place; token i stands at position + i
 * direction    1, or -1 to rotate back (the transpose, for gradients)
 * Split over threads by token and head.
 */
export function rope_f32(
  x: usize,
  n: i32,
  heads: i32,
  half: i32,
  table: usize,
  position: i32,
  direction: f32,
  tid: i32,
  threads: i32,
): void {
  const half4 = half & ~3;
  const end = split(n * heads, tid + 1, threads);
  for (let unit = split(n * heads, tid, threads); unit < end; unit++) {
    const cos = table + usize(position + unit / heads) * (half << 3);
    const sin = cos + (half << 2);
    const low = x + usize(unit) * (half << 3);
    const high = low + (half << 2);
    let j = 0;
    for (; j < half4; j += 4) {
      const at = j << 2;
      const a = v128.load(low + at);
      const b = v128.load(high + at);
      const c = v128.load(cos + at);
      const s = f32x4.mul(v128.load(sin + at), f32x4.splat(direction));
      v128.store(low + at, f32x4.sub(f32x4.mul(a, c), f32x4.mul(b, s)));
      v128.store(high + at, f32x4.add(f32x4.mul(b, c), f32x4.mul(a, s)));
    }
    for (; j < half; j++) {
      const at = j << 2;
      const a = load<f32>(low + at);
      const b = load<f32>(high + at);
      const c = load<f32>(cos + at);
      const s = direction * load<f32>(sin + at);
      store<f32>(low + at, a * c - b * s);
      store<f32>(high + at, b * c + a * s);
    }
  }
}
