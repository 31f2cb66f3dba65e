// Causal attention with grouped heads over a KV cache, f32:
//   out = softmax(q Kᵀ / sqrt(headDim)) V, token i sees positions 0..position + i
//
// Cache of one layer and KV head, `length` positions (a multiple of 8):
//   keys    tiles of 8 positions: per dimension, 8 keys side by side (as packed f32 weights), length × headDim × 4 bytes
//   values  [length, valueDim] row-major, valueDim = headDim rounded up to 8, padding zero
//
// A unit of work is one KV head and up to 4 of the queries that read it (tokens × heads of the group), so each key and value
// is loaded once for 4 queries. Every score, sum and output has a fixed order of additions: dimensions ascending; keys in four
// lanes, (l0 + l1) + (l2 + l3); positions ascending. Keys that a query may not see take part with weight 0, which adds nothing.
import { exp_f32x4 } from "./exp";
import { split } from "./layout";
import { tile_4x8 } from "./tile-f32";

/**
 * keys, values  one layer of the cache, all heads: head h at h × length × headDim × 4, h × length × valueDim × 4
 * k, v          [n, kvHeads × headDim] f32
 */
export function write_kv(
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
    let key = keys + ((usize(head) * length + (at & ~7)) * headDim + (at & 7)) * 4;
    for (let d = 0; d < headDim; d++) {
      store<f32>(key, load<f32>(k + from + (d << 2)));
      key += 32;
    }
    const value = values + (usize(head) * length + at) * (valueDim << 2);
    memory.copy(value, v + from, headDim << 2);
    memory.fill(value + (headDim << 2), 0, (valueDim - headDim) << 2);
  }
}

/**
 * out, q   [n, heads × headDim] f32
 * keys, values  one layer of the cache, as for write_kv
 * scratch  per thread 144 bytes and 4 × length f32
 */
export function attention_f32(
  out: usize,
  q: usize,
  keys: usize,
  values: usize,
  n: i32,
  heads: i32,
  kvHeads: i32,
  headDim: i32,
  length: i32,
  position: i32,
  scale: f32,
  scratch: usize,
  tid: i32,
  threads: i32,
): void {
  const group = heads / kvHeads;
  const queries = n * group;
  const blocks = (queries + 3) >> 2;
  const valueDim = (headDim + 7) & ~7;
  const row = usize(length) << 2;
  const tile = scratch + usize(tid) * ((usize(length) << 4) + 144);
  const sums = tile + 128;
  const scores = tile + 144;
  // Dealt out one by one: later tokens see more keys and cost more.
  for (let unit = tid; unit < kvHeads * blocks; unit += threads) {
    const head = unit % kvHeads;
    const first = (unit / kvHeads) << 2;
    const last = min(4, queries - first) - 1;
    const q0 = q + query_offset(first, head, group, heads, headDim);
    const q1 = q + query_offset(first + min(1, last), head, group, heads, headDim);
    const q2 = q + query_offset(first + min(2, last), head, group, heads, headDim);
    const q3 = q + query_offset(first + min(3, last), head, group, heads, headDim);

    const limit = position + (first + last) / group + 1;
    let key = keys + usize(head) * headDim * row;
    for (let at = scores, end = scores + (limit << 2); at < end; at += 32) {
      tile_4x8(tile, key, 32, q0, q1, q2, q3, 4, headDim);
      for (let i = 0; i < 4; i++) {
        const to = at + usize(i) * row;
        v128.store(to, f32x4.mul(v128.load(tile + (i << 5)), f32x4.splat(scale)));
        v128.store(to, f32x4.mul(v128.load(tile + (i << 5), 16), f32x4.splat(scale)), 16);
      }
      key += headDim << 5;
    }
    for (let i = 0; i <= last; i++) {
      const visible = position + (first + i) / group + 1;
      store<f32>(sums + (i << 2), exponentiate(scores + usize(i) * row, visible, limit));
    }
    const value = values + usize(head) * valueDim * row;
    for (let d = 0; d < headDim; d += 8) {
      const at = value + (d << 2);
      tile_4x8(
        tile,
        at,
        valueDim << 2,
        scores,
        scores + row,
        scores + 2 * row,
        scores + 3 * row,
        4,
        limit,
      );
      const bytes = min(8, headDim - d) << 2;
      for (let i = 0; i <= last; i++) {
        const to = out + query_offset(first + i, head, group, heads, headDim) + (d << 2);
        divide_row(tile + (i << 5), load<f32>(sums + (i << 2)));
        memory.copy(to, tile + (i << 5), bytes);
      }
    }
  }
}

/** Byte offset of query `index` of a KV head in [n, heads × headDim]: tokens first, then the heads of the group. */
function query_offset(index: i32, head: i32, group: i32, heads: i32, headDim: i32): usize {
  return (usize(index / group) * heads + head * group + (index % group)) * (headDim << 2);
}

/** In place: e^(score - max) for j < visible, 0 for visible <= j < limit. Returns the sum. */
export function exponentiate(scores: usize, visible: i32, limit: i32): f32 {
  const end = scores + (((limit + 3) & ~3) << 2);
  for (let at = scores + (visible << 2); at < end; at += 4) store<f32>(at, -Infinity);
  let top = v128.load(scores);
  for (let at = scores + 16; at < end; at += 16) top = f32x4.pmax(top, v128.load(at));
  const peak = max(
    max(f32x4.extract_lane(top, 0), f32x4.extract_lane(top, 1)),
    max(f32x4.extract_lane(top, 2), f32x4.extract_lane(top, 3)),
  );
  let sums = f32x4.splat(0);
  for (let at = scores; at < end; at += 16) {
    const weight = exp_f32x4(f32x4.sub(v128.load(at), f32x4.splat(peak)));
    v128.store(at, weight);
    sums = f32x4.add(sums, weight);
  }
  return (
    f32x4.extract_lane(sums, 0) +
    f32x4.extract_lane(sums, 1) +
    (f32x4.extract_lane(sums, 2) + f32x4.extract_lane(sums, 3))
  );
}

function divide_row(row: usize, sum: f32): void {
  v128.store(row, f32x4.div(v128.load(row), f32x4.splat(sum)));
  v128.store(row, f32x4.div(v128.load(row, 16), f32x4.splat(sum)), 16);
}
