// The KV cache of one layer: how keys and values lie, and how they enter. Attention (attention.ts) streams them.
//
// Positions are taken in blocks of 64 (KEY_BLOCK); `length` is a whole number of them. KV heads lie one after another:
//   keys    per 8 positions: per dimension, 8 keys side by side. length × headDim values per head
//   values  per block, per 8 dimensions: 64 positions × 8. length × valueDim values per head, valueDim = headDim rounded up to 8
// Values are f32, or half-precision floats. Type parameter: f32, or u16 for halves.

import { f32_to_half } from "./half";
import { split } from "./layout";

/** Positions of a block. Attention sums a block at a time. */
export const KEY_BLOCK: i32 = 64;

/**
 * keys, values  one layer of the cache
 * k, v          [n, kvHeads × headDim] f32, stored at `position`..
 */
export function write_kv<T>(
  keys: usize,
  values: usize,
  k: usize,
  v: usize,
  n: i32,
  kvHeads: i32,
  headDim: i32,
  length: i32,
  position: i32,
  tid: i32,
  threads: i32,
): void {
  const valueDim = (headDim + 7) & ~7;
  const end = split(n * kvHeads, tid + 1, threads);
  for (let unit = split(n * kvHeads, tid, threads); unit < end; unit++) {
    const head = unit % kvHeads;
    const at = position + unit / kvHeads;
    const from = usize(unit) * (headDim << 2);
    let key = keys + ((usize(head) * length + (at & ~7)) * headDim + (at & 7)) * sizeof<T>();
    for (let d = 0; d < headDim; d++) {
      put<T>(key, load<f32>(k + from + (d << 2)));
      key += 8 * sizeof<T>();
    }
    let value =
      values +
      ((usize(head) * length + (at & -KEY_BLOCK)) * valueDim + ((at & (KEY_BLOCK - 1)) << 3)) *
        sizeof<T>();
    for (let d = 0; d < valueDim; d++) {
      put<T>(value + (d & 7) * sizeof<T>(), d < headDim ? load<f32>(v + from + (d << 2)) : 0);
      if ((d & 7) === 7) value += 8 * KEY_BLOCK * sizeof<T>();
    }
  }
}

function put<T>(to: usize, value: f32): void {
  if (isFloat<T>()) store<f32>(to, value);
  else store<u16>(to, u16(i32x4.extract_lane(f32_to_half(f32x4.splat(value)), 0)));
}
