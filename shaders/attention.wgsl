// Causal attention with grouped heads, online softmax (arXiv 2205.14135), for prefill and decoding alike:
// out = softmax(q kᵀ / sqrt(headDim)) v. q, out [rows, heads × headDim]; row i of a span sees positions 0..position + i of its cache,
// of these the last `window`.
// A workgroup takes 8 rows (token × head of the group) of one span and KV head, so keys and values serve all its query heads,
// and one stretch of positions; attention-combine.wgsl joins the stretches.
// partial [rows × heads, splits, 2 + headDim]: max, sum, Σ e^(s - max) v. Grid: (Σ_spans ceil(n · group / 8), kvHeads, splits).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(5) var<storage, read> lists: array<u32>;
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include cache
struct Place { base: u32, length: u32, head_dim: u32 }
fn values_behind(keys: Place, kv_heads: u32) -> Place { return keys; }
fn key_pair(place: Place, head: u32, position: u32, j: u32) -> vec2<f32> { return vec2<f32>(); }
fn value_at(place: Place, head: u32, position: u32, c: u32) -> f32 { return 0.0; }
//# include softmax
const ROWS: u32 = 8u;
const LOWEST: f32 = -3.0e38;
override LANES: u32 = 8u;
override SCORES: u32 = 512u;
var<workgroup> weight: array<f32, SCORES>;
var<workgroup> shrink: array<f32, ROWS>;
struct Softmax { top: f32, sum: f32 }
fn soften(before: Softmax, t: u32) -> Softmax { return before; }
//# end

struct Params {
  q: u32,
  out: u32, // written where partial_out is NONE: there is one split
  splits: u32,
  stretch: u32, // positions of one split, a multiple of THREADS
  partial_out: u32, // or NONE
  heads: u32,
  kv_heads: u32,
  head_dim: u32, // at most THREADS · COLUMNS
  items: u32, // in `lists`, per workgroup: its span's first row, rows, position, cache (base, length); its own first row in it
  scale: f32,
  window: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

/// Of a head, per thread: at most 4.
override COLUMNS: u32 = 2u;

override Q_SIZE: u32 = ROWS * THREADS * COLUMNS;
var<workgroup> q_rows: array<f32, Q_SIZE>; // [8, headDim]
var<workgroup> tops: array<f32, ROWS>;
var<workgroup> sums: array<f32, ROWS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let item = p.items + 6u * group.x;
  let position0 = lists[item + 2u];
  let d = p.head_dim;
  let keys = Place(lists[item + 3u], lists[item + 4u], d);
  let values = values_behind(keys, p.kv_heads);
  let share = p.heads / p.kv_heads;
  let row0 = lists[item + 5u];
  let rows = min(ROWS, lists[item + 1u] * share - row0);
  // of query row row0 + r: token and head
  let out0 = lists[item] * p.heads + group.y * share;
  for (var i = t; i < rows * d; i += THREADS) {
    let row = row0 + i / d;
    let at = out0 + (row / share) * p.heads + row % share;
    q_rows[i] = load(p.q + at * d + i % d) * p.scale;
  }
  workgroupBarrier();

  var acc: array<array<f32, 4>, ROWS>;
  var state = Softmax(LOWEST, 0.0);
  let seen = position0 + (row0 + rows - 1u) / share + 1u; // by the last row
  let stretch = group.z * p.stretch;
  let end = min(stretch + p.stretch, seen);
  // the first row's first position, or the tile that it is in
  let first = position0 + row0 / share + 1u;
  let begin = max(stretch, (first - min(first, p.window)) / THREADS * THREADS);
  for (var tile = begin; tile < end; tile += THREADS) {
    // scores of one position per thread
    let position = tile + t;
    var scores: array<f32, ROWS>;
    if (position < end) {
      for (var j = 0u; j < d / 2u; j++) {
        let key = key_pair(keys, group.y, position, j);
        for (var r = 0u; r < ROWS; r++) {
          scores[r] += q_rows[r * d + j] * key.x + q_rows[r * d + d / 2u + j] * key.y;
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      let last = position0 + (row0 + r) / share;
      let visible = position < end && position <= last && last - position < p.window;
      weight[r * THREADS + t] = select(LOWEST, scores[r], visible);
    }
    state = soften(state, t);
    // weighted values: one column per thread
    for (var k = 0u; k < COLUMNS; k++) {
      let c = t + THREADS * k;
      if (c < d) {
        for (var r = 0u; r < ROWS; r++) {
          acc[r][k] *= shrink[r];
        }
        for (var i = 0u; i < min(THREADS, end - tile); i++) {
          let value = value_at(values, group.y, tile + i, c);
          for (var r = 0u; r < ROWS; r++) {
            acc[r][k] += weight[r * THREADS + i] * value;
          }
        }
      }
    }
    workgroupBarrier();
  }
  if (t % LANES == 0u) {
    tops[t / LANES] = state.top;
    sums[t / LANES] = state.sum;
  }
  workgroupBarrier();

  for (var r = 0u; r < rows; r++) {
    let at = out0 + ((row0 + r) / share) * p.heads + (row0 + r) % share;
    let partial_at = p.partial_out + (at * p.splits + group.z) * (d + 2u);
    if (p.partial_out != NONE && t == 0u) {
      store(partial_at, tops[r]);
      store(partial_at + 1u, sums[r]);
    }
    for (var k = 0u; k < COLUMNS; k++) {
      let c = t + THREADS * k;
      if (c < d && p.partial_out != NONE) {
        store(partial_at + 2u + c, acc[r][k]);
      } else if (c < d) {
        store(p.out + at * d + c, acc[r][k] / sums[r]);
      }
    }
  }
}
