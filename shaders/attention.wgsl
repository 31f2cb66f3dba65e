// Causal attention with grouped heads, online softmax (arXiv 2205.14135), for prefill and decoding alike:
// out = softmax(q kᵀ / sqrt(headDim)) v. q, out [n, heads × headDim]; row i sees positions 0..position + i of the cache.
// A workgroup takes 8 rows (token × head of the group) of one KV head, so keys and values serve all its query heads, and one
// stretch of `span` positions; attention-combine.wgsl joins the stretches.
// partial [n × heads, splits, 2 + headDim]: max, sum, Σ e^(s - max) v. Grid: (ceil(n · group / 8), kvHeads, splits).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings

struct Params {
  q: u32,
  out: u32, // written where partial_out is NONE: there is one split
  splits: u32,
  span: u32, // positions of one split, a multiple of 64
  partial_out: u32, // or NONE
  n: u32,
  position: u32,
  heads: u32,
  kv_heads: u32,
  head_dim: u32, // at most 128
  length: u32, // of the cache
  keys: u32, // [kvHeads, headDim, length] in `kv`
  values: u32, // [kvHeads, length, headDim] in `kv`
  scale: f32,
}
@group(0) @binding(4) var<storage, read> p: Params;

const ROWS: u32 = 8u;
const TILE: u32 = 64u;
const DIMS: u32 = 2u; // headDim / 64, at most
const LOWEST: f32 = -3.0e38;

var<workgroup> q_rows: array<f32, 1024>; // [8, headDim]
var<workgroup> weight: array<f32, 512>; // [8, 64]: scores, then e^(s - max)
var<workgroup> shares: array<f32, 64>;
var<workgroup> shrink: array<f32, 8>; // e^(old max - new max)
var<workgroup> total: array<f32, 8>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let share = p.heads / p.kv_heads;
  let row0 = group.x * ROWS;
  let rows = min(ROWS, p.n * share - row0);
  let d = p.head_dim;
  for (var i = t; i < rows * d; i += 64u) {
    let row = row0 + i / d;
    let head = group.y * share + row % share;
    q_rows[i] = load(p.q + ((row / share) * p.heads + head) * d + i % d) * p.scale;
  }
  workgroupBarrier();

  var acc: array<array<f32, DIMS>, ROWS>;
  var top = LOWEST; // of the row that this thread looks after in the softmax: t / 8
  var sum = 0.0;
  let seen = p.position + (row0 + rows - 1u) / share + 1u; // by the last row
  let begin = group.z * p.span;
  let end = min(begin + p.span, seen);
  for (var tile = begin; tile < end; tile += TILE) {
    // scores of one position per thread
    let position = tile + t;
    var scores: array<f32, ROWS>;
    if (position < end) {
      for (var j = 0u; j < d; j++) {
        let key = kv[p.keys + (group.y * d + j) * p.length + position];
        for (var r = 0u; r < ROWS; r++) {
          scores[r] += q_rows[r * d + j] * key;
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      let visible = position < end && position <= p.position + (row0 + r) / share;
      weight[r * TILE + t] = select(LOWEST, scores[r], visible);
    }
    workgroupBarrier();
    // softmax: eight threads per row
    let mine = (t / 8u) * TILE + (t % 8u) * 8u;
    var best = LOWEST;
    for (var i = 0u; i < 8u; i++) {
      best = max(best, weight[mine + i]);
    }
    shares[t] = best;
    workgroupBarrier();
    var higher = top;
    for (var i = 0u; i < 8u; i++) {
      higher = max(higher, shares[(t / 8u) * 8u + i]);
    }
    workgroupBarrier();
    var part = 0.0;
    for (var i = 0u; i < 8u; i++) {
      let score = weight[mine + i];
      let e = select(0.0, exp(score - higher), score > LOWEST);
      weight[mine + i] = e;
      part += e;
    }
    shares[t] = part;
    workgroupBarrier();
    let factor = exp(top - higher);
    sum *= factor;
    for (var i = 0u; i < 8u; i++) {
      sum += shares[(t / 8u) * 8u + i];
    }
    top = higher;
    if (t % 8u == 0u) {
      shrink[t / 8u] = factor;
    }
    workgroupBarrier();
    // weighted values: one column per thread
    for (var k = 0u; k < DIMS; k++) {
      let c = t + 64u * k;
      if (c < d) {
        for (var r = 0u; r < ROWS; r++) {
          acc[r][k] *= shrink[r];
        }
        for (var i = 0u; i < min(TILE, end - tile); i++) {
          let value = kv[p.values + (group.y * p.length + tile + i) * d + c];
          for (var r = 0u; r < ROWS; r++) {
            acc[r][k] += weight[r * TILE + i] * value;
          }
        }
      }
    }
    workgroupBarrier();
  }
  if (t % 8u == 0u) {
    total[t / 8u] = sum;
    shrink[t / 8u] = top;
  }
  workgroupBarrier();

  for (var r = 0u; r < rows; r++) {
    let row = row0 + r;
    let at = (row / share) * p.heads + group.y * share + row % share;
    let partial_at = p.partial_out + (at * p.splits + group.z) * (d + 2u);
    if (p.partial_out != NONE && t == 0u) {
      store(partial_at, shrink[r]);
      store(partial_at + 1u, total[r]);
    }
    for (var k = 0u; k < DIMS; k++) {
      let c = t + 64u * k;
      if (c < d && p.partial_out != NONE) {
        store(partial_at + 2u + c, acc[r][k]);
      } else if (c < d) {
        store(p.out + at * d + c, acc[r][k] / total[r]);
      }
    }
  }
}
