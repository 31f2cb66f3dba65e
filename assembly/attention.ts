// Causal attention with grouped heads over a KV cache (kv-cache.ts):
//   out = softmax(q Kᵀ / sqrt(headDim)) V, token i sees positions 0..position + i, of these the last `window`
//
// Keys are taken in blocks of 64. Of each block, a query gets a *partial*: the maximum of its scores, the sum of their
// exponentials, and the values' sum weighted by them. Partials are folded together with positions ascending, by the rule of
// online softmax (arXiv 1805.02867, section 3.1). So a score, sum or output has one order of additions, whether blocks are
// computed one after another (`attention`) or dealt out to threads (`attention_parts`, then `attention_combine`), and
// whatever tokens go along. Within a block: dimensions ascending; keys in four lanes, (l0 + l1) + (l2 + l3); positions
// ascending. Keys that a query may not see take part with weight 0, which adds nothing; blocks that none of a call sees are left out.
//
// A unit of work has up to 4 of the queries that read one KV head (tokens × heads of the group), so each key and value is
// loaded once for 4 queries. Type parameter: that of the cache.
import { exp_f32x4 } from "./exp";
import { KEY_BLOCK } from "./kv-cache";
import { exponentiate } from "./softmax";
import { interleave, tile_1x32, tile_4x8_panel } from "./tile-f32";

/** A partial: maximum, sum, 8 bytes unused, then [valueDim] f32. */
function partial_bytes(valueDim: i32): usize {
  return 16 + (usize(valueDim) << 2);
}

/** Bytes of a thread's scratch: 4 queries interleaved, a block's scores for them, the same interleaved, then 8 partials. */
function scratch_bytes(valueDim: i32): usize {
  return (usize(valueDim) << 4) + 32 * KEY_BLOCK + (partial_bytes(valueDim) << 3);
}

/**
 * out, q        [n, heads × headDim] f32
 * keys, values  one layer of the cache
 * scratch       per thread 2176 + 48 valueDim bytes
 * window        at least 1
 */
export function attention<T>(
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
  window: i32,
  tid: i32,
  threads: i32,
): void {
  const group = heads / kvHeads;
  const queries = n * group;
  const quarters = (queries + 3) >> 2;
  const valueDim = (headDim + 7) & ~7;
  const bytes = partial_bytes(valueDim);
  const panel = scratch + usize(tid) * scratch_bytes(valueDim);
  const scores = panel + (usize(valueDim) << 4);
  const parts = scores + 32 * KEY_BLOCK;
  const sums = parts + (bytes << 2);
  // Dealt out one by one: later tokens see more keys and cost more. Calls begin with different threads.
  for (let unit = (tid + position) % threads; unit < kvHeads * quarters; unit += threads) {
    const head = unit % kvHeads;
    const first = (unit / kvHeads) << 2;
    const last = min(4, queries - first) - 1;
    for (let i = 0; i <= last; i++) clear_partial(sums + usize(i) * bytes);
    const queryPanel = gather(panel, q, head, first, last, group, heads, headDim);
    const limit = position + (first + last) / group + 1;
    const begin = first_block(position + first / group, window) * KEY_BLOCK;
    for (let start = begin; start < limit; start += KEY_BLOCK) {
      attend<T>(
        parts,
        bytes,
        queryPanel,
        scores,
        keys,
        values,
        head,
        first,
        last,
        group,
        headDim,
        length,
        position,
        start,
        window,
        scale,
      );
      for (let i = 0; i <= last; i++) {
        fold_partial(sums + usize(i) * bytes, parts + usize(i) * bytes, valueDim);
      }
    }
    for (let i = 0; i <= last; i++) {
      const to = out + query_offset(first + i, head, group, heads, headDim);
      put_result(to, sums + usize(i) * bytes, headDim);
    }
  }
}

/** As `attention`, but only the partials: parts [kvHeads, n × group, blocks], of all blocks that one of the tokens sees. */
export function attention_parts<T>(
  parts: usize,
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
  window: i32,
  tid: i32,
  threads: i32,
): void {
  const group = heads / kvHeads;
  const queries = n * group;
  const quarters = (queries + 3) >> 2;
  const firstBlock = first_block(position, window);
  const blocks = (position + n + KEY_BLOCK - 1) / KEY_BLOCK - firstBlock;
  const valueDim = (headDim + 7) & ~7;
  const bytes = partial_bytes(valueDim);
  const panel = scratch + usize(tid) * scratch_bytes(valueDim);
  const scores = panel + (usize(valueDim) << 4);
  for (let unit = tid; unit < kvHeads * quarters * blocks; unit += threads) {
    const block = unit % blocks;
    const head = (unit / blocks) % kvHeads;
    const first = (unit / (blocks * kvHeads)) << 2;
    const last = min(4, queries - first) - 1;
    attend<T>(
      parts + (usize(head * queries + first) * blocks + block) * bytes,
      usize(blocks) * bytes,
      gather(panel, q, head, first, last, group, heads, headDim),
      scores,
      keys,
      values,
      head,
      first,
      last,
      group,
      headDim,
      length,
      position,
      (firstBlock + block) * KEY_BLOCK,
      window,
      scale,
    );
  }
}

/**
 * out      [n, heads × headDim] f32
 * parts    of `attention_parts`
 * scratch  as there
 */
export function attention_combine(
  out: usize,
  parts: usize,
  n: i32,
  heads: i32,
  kvHeads: i32,
  headDim: i32,
  position: i32,
  scratch: usize,
  window: i32,
  tid: i32,
  threads: i32,
): void {
  const group = heads / kvHeads;
  const queries = n * group;
  const blocks = (position + n + KEY_BLOCK - 1) / KEY_BLOCK - first_block(position, window);
  const valueDim = (headDim + 7) & ~7;
  const bytes = partial_bytes(valueDim);
  const sum = scratch + usize(tid) * scratch_bytes(valueDim);
  for (let unit = tid; unit < kvHeads * queries; unit += threads) {
    clear_partial(sum);
    const from = parts + usize(unit * blocks) * bytes;
    for (let block = 0; block < blocks; block++) {
      fold_partial(sum, from + usize(block) * bytes, valueDim);
    }
    const to = out + query_offset(unit % queries, unit / queries, group, heads, headDim);
    put_result(to, sum, headDim);
  }
}

/** Of the keys that a token at `position` sees. */
function first_block(position: i32, window: i32): i32 {
  return max(0, position + 1 - window) / KEY_BLOCK;
}

/** Byte offset of query `index` of a KV head in [n, heads × headDim]: tokens first, then the heads of the group. */
function query_offset(index: i32, head: i32, group: i32, heads: i32, headDim: i32): usize {
  return (usize(index / group) * heads + head * group + (index % group)) * (headDim << 2);
}

/**
 * The partials of queries first..first + last of a KV head over the block that begins at `start`.
 * parts   one partial per query, `step` bytes apart; a query that sees nothing of the block gets an empty one
 * panel   what `gather` made of the queries: their address if there is one, else [headDim, 4] f32
 * scores  scratch behind it
 */
function attend<T>(
  parts: usize,
  step: usize,
  panel: usize,
  scores: usize,
  keys: usize,
  values: usize,
  head: i32,
  first: i32,
  last: i32,
  group: i32,
  headDim: i32,
  length: i32,
  position: i32,
  start: i32,
  window: i32,
  scale: f32,
): void {
  const row: usize = KEY_BLOCK << 2;
  const valueDim = (headDim + 7) & ~7;
  const count = min(KEY_BLOCK, position + (first + last) / group + 1 - start);
  const place = usize(head) * length + start;
  const keyStep = usize(headDim << 3) * sizeof<T>();
  let key = keys + place * headDim * sizeof<T>();
  if (last === 0) {
    for (let k = 0; k < count; k += 32) {
      tile_1x32<T>(scores + (k << 2), key, keyStep, 1, 2, 3, panel, headDim);
      key += keyStep << 2;
    }
  } else {
    for (let at = scores, end = scores + (usize(count) << 2); at < end; at += 32) {
      tile_4x8_panel<T>(at, at + row, at + 2 * row, at + 3 * row, key, panel, headDim);
      key += keyStep;
    }
  }

  for (let i = 0; i <= last; i++) {
    const end = position + (first + i) / group + 1 - start;
    const visible = min(count, end);
    const hidden = end - window; // so many of the first, if any
    const line = scores + usize(i) * row;
    if (visible > 0 && hidden < visible) {
      for (let k = 0; k < hidden; k++) store<f32>(line + (k << 2), -Infinity);
      exponentiate(line, visible, count, scale, parts + usize(i) * step);
    } else {
      clear_partial(parts + usize(i) * step);
      memory.fill(line, 0, row);
    }
  }

  const tiles = valueDim >> 3;
  const valueStep = 8 * KEY_BLOCK * sizeof<T>();
  let value = values + place * valueDim * sizeof<T>();
  const sums = parts + 16;
  if (last === 0) {
    for (let t = 0; t < tiles; t += 4) {
      const left = tiles - 1 - t; // tiles that do not exist repeat the last one
      tile_1x32<T>(
        sums + (t << 5),
        value,
        valueStep,
        min(1, left),
        min(2, left),
        min(3, left),
        scores,
        count,
      );
      value += valueStep << 2;
    }
    return;
  }
  const weights = scores + 4 * row;
  // Queries that do not exist repeat the last one, into its place.
  const third = usize(min(2, last));
  const fourth = usize(min(3, last));
  interleave(weights, scores, scores + row, scores + third * row, scores + fourth * row, count);
  const sums1 = sums + step;
  const sums2 = sums + third * step;
  const sums3 = sums + fourth * step;
  for (let t = 0; t < tiles; t++) {
    const at = usize(t) << 5;
    tile_4x8_panel<T>(sums + at, sums1 + at, sums2 + at, sums3 + at, value, weights, count);
    value += valueStep;
  }
}

/** Queries first..first + last of a KV head as `attend` takes them: one where it lies, several interleaved at `panel`. */
function gather(
  panel: usize,
  q: usize,
  head: i32,
  first: i32,
  last: i32,
  group: i32,
  heads: i32,
  headDim: i32,
): usize {
  const q0 = q + query_offset(first, head, group, heads, headDim);
  if (last === 0) return q0;
  interleave(
    panel,
    q0,
    q + query_offset(first + 1, head, group, heads, headDim),
    q + query_offset(first + min(2, last), head, group, heads, headDim),
    q + query_offset(first + min(3, last), head, group, heads, headDim),
    headDim,
  );
  return panel;
}

function clear_partial(part: usize): void {
  store<f32>(part, -Infinity);
  store<f32>(part, 0, 4);
}

/** sum becomes the partial of its keys and part's together; an empty one (its sum is 0) changes nothing. */
function fold_partial(sum: usize, part: usize, valueDim: i32): void {
  const weight = load<f32>(part, 4);
  if (weight === 0) return;
  if (load<f32>(sum, 4) === 0) {
    memory.copy(sum, part, partial_bytes(valueDim));
    return;
  }
  const peak = max(load<f32>(sum), load<f32>(part));
  const peaks = f32x4.replace_lane(f32x4.splat(load<f32>(sum)), 1, load<f32>(part));
  const factors = exp_f32x4(f32x4.sub(peaks, f32x4.splat(peak)));
  const old = v128.shuffle<i32>(factors, factors, 0, 0, 0, 0);
  const other = v128.shuffle<i32>(factors, factors, 1, 1, 1, 1);
  store<f32>(sum, peak);
  const total =
    load<f32>(sum, 4) * f32x4.extract_lane(old, 0) + weight * f32x4.extract_lane(other, 0);
  store<f32>(sum, total, 4);
  for (let at: usize = 16, end = partial_bytes(valueDim); at < end; at += 16) {
    v128.store(
      sum + at,
      f32x4.add(f32x4.mul(v128.load(sum + at), old), f32x4.mul(v128.load(part + at), other)),
    );
  }
}

/** out [headDim] = the partial's values over its sum. */
function put_result(out: usize, part: usize, headDim: i32): void {
  const sum = load<f32>(part, 4);
  let d = 0;
  for (; d + 4 <= headDim; d += 4) {
    v128.store(out + (d << 2), f32x4.div(v128.load(part + (d << 2), 16), f32x4.splat(sum)));
  }
  for (; d < headDim; d++) store<f32>(out + (d << 2), load<f32>(part + (d << 2), 16) / sum);
}
