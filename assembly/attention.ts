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
 * scratch  threads × 4 × (length + headDim + 40) f32
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
  const panel = scratch + usize(tid) * ((length + headDim + 40) << 4);
  const scores = panel + ((headDim + 40) << 4);
  // Dealt out one by one: later tokens see more keys and cost more.
  for (let unit = tid; unit < kvHeads * blocks; unit += threads) {
    const head = unit % kvHeads;
    const first = (unit / kvHeads) << 2;
    const count = min(4, queries - first);
    for (let i = 0; i < 4; i++) {
      const from = q + query_offset(first + min(i, count - 1), head, group, heads, headDim);
      for (let d = 0; d < headDim; d++) {
        store<f32>(panel + (d << 4) + (i << 2), load<f32>(from + (d << 2)) * scale);
      }
    }
    const limit = position + (first + count - 1) / group + 1;
    score_keys(scores, panel, keys + usize(head) * length * (headDim << 2), limit, headDim, length);
    for (let i = 0; i < 4; i++) {
      const visible = position + (first + min(i, count - 1)) / group + 1;
      // The panel of queries is spent: its first four places take the sums.
      store<f32>(panel + (i << 2), softmax(scores + i * (length << 2), visible, limit));
    }
    const head0 = values + usize(head) * length * (valueDim << 2);
    for (let d = 0; d < headDim; d += 8) {
      weigh_values(panel + 16, scores, head0 + (d << 2), limit, length, valueDim, panel);
      const bytes = min(8, headDim - d) << 2;
      for (let i = 0; i < count; i++) {
        const to = out + query_offset(first + i, head, group, heads, headDim) + (d << 2);
        memory.copy(to, panel + 16 + (i << 5), bytes);
      }
    }
  }
}

/** Byte offset of query `index` of a KV head in [n, heads × headDim]: tokens first, then the heads of the group. */
function query_offset(index: i32, head: i32, group: i32, heads: i32, headDim: i32): usize {
  return (usize(index / group) * heads + head * group + (index % group)) * (headDim << 2);
}

/** scores[i][j] = Σ_d panel[d][i] keys[j][d], for j < limit rounded up to 8. */
function score_keys(
  scores: usize,
  panel: usize,
  keys: usize,
  limit: i32,
  headDim: i32,
  length: i32,
): void {
  const row = usize(length) << 2;
  for (let tile = 0; tile < limit; tile += 8) {
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    let b0 = f32x4.splat(0);
    let b1 = f32x4.splat(0);
    let b2 = f32x4.splat(0);
    let b3 = f32x4.splat(0);
    let q = panel;
    for (const end = keys + (headDim << 5); keys < end; keys += 32) {
      const ka = v128.load(keys);
      const kb = v128.load(keys, 16);
      const q0 = v128.load_splat<f32>(q);
      a0 = f32x4.add(a0, f32x4.mul(ka, q0));
      b0 = f32x4.add(b0, f32x4.mul(kb, q0));
      const q1 = v128.load_splat<f32>(q, 4);
      a1 = f32x4.add(a1, f32x4.mul(ka, q1));
      b1 = f32x4.add(b1, f32x4.mul(kb, q1));
      const q2 = v128.load_splat<f32>(q, 8);
      a2 = f32x4.add(a2, f32x4.mul(ka, q2));
      b2 = f32x4.add(b2, f32x4.mul(kb, q2));
      const q3 = v128.load_splat<f32>(q, 12);
      a3 = f32x4.add(a3, f32x4.mul(ka, q3));
      b3 = f32x4.add(b3, f32x4.mul(kb, q3));
      q += 16;
    }
    const to = scores + (tile << 2);
    v128.store(to, a0);
    v128.store(to, b0, 16);
    v128.store(to + row, a1);
    v128.store(to + row, b1, 16);
    v128.store(to + 2 * row, a2);
    v128.store(to + 2 * row, b2, 16);
    v128.store(to + 3 * row, a3);
    v128.store(to + 3 * row, b3, 16);
  }
}

/** In place: e^(score - max) for j < visible, 0 for visible <= j < limit. Returns the sum. */
function softmax(scores: usize, visible: i32, limit: i32): f32 {
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

/** out[i][0..7] = Σ_j scores[i][j] values[j][0..7] / sums[i], for 4 queries. */
function weigh_values(
  out: usize,
  scores: usize,
  values: usize,
  limit: i32,
  length: i32,
  valueDim: i32,
  sums: usize,
): void {
  const row = usize(length) << 2;
  const stride = usize(valueDim) << 2;
  const scores1 = scores + row;
  const scores2 = scores1 + row;
  const scores3 = scores2 + row;
  let a0 = f32x4.splat(0);
  let a1 = f32x4.splat(0);
  let a2 = f32x4.splat(0);
  let a3 = f32x4.splat(0);
  let b0 = f32x4.splat(0);
  let b1 = f32x4.splat(0);
  let b2 = f32x4.splat(0);
  let b3 = f32x4.splat(0);
  for (let offset: usize = 0, end = usize(limit) << 2; offset < end; offset += 4) {
    const va = v128.load(values);
    const vb = v128.load(values, 16);
    const p0 = v128.load_splat<f32>(scores + offset);
    a0 = f32x4.add(a0, f32x4.mul(va, p0));
    b0 = f32x4.add(b0, f32x4.mul(vb, p0));
    const p1 = v128.load_splat<f32>(scores1 + offset);
    a1 = f32x4.add(a1, f32x4.mul(va, p1));
    b1 = f32x4.add(b1, f32x4.mul(vb, p1));
    const p2 = v128.load_splat<f32>(scores2 + offset);
    a2 = f32x4.add(a2, f32x4.mul(va, p2));
    b2 = f32x4.add(b2, f32x4.mul(vb, p2));
    const p3 = v128.load_splat<f32>(scores3 + offset);
    a3 = f32x4.add(a3, f32x4.mul(va, p3));
    b3 = f32x4.add(b3, f32x4.mul(vb, p3));
    values += stride;
  }
  divide(out, a0, b0, load<f32>(sums));
  divide(out + 32, a1, b1, load<f32>(sums, 4));
  divide(out + 64, a2, b2, load<f32>(sums, 8));
  divide(out + 96, a3, b3, load<f32>(sums, 12));
}

function divide(out: usize, a: v128, b: v128, sum: f32): void {
  v128.store(out, f32x4.div(a, f32x4.splat(sum)));
  v128.store(out, f32x4.div(b, f32x4.splat(sum)), 16);
}
