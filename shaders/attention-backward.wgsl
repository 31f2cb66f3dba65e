// Backward of attention over one sequence, first step, for the query heads of one KV head: with S = q kᵀ scale over
// positions 0..i, of these the last `window`, and P = softmax(S): dP = dOut vᵀ, dS = P ⊙ (dP - rowsum(P ⊙ dP)) · scale.
// q, dOut [n, heads × headDim]; k, v [n, kvHeads × headDim] → P, dS [heads of the group, n, n], lower triangle, 0 before the window.
// Grid: (n, heads of the group). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# end

struct Params {
  q: u32, // the group's first column
  k: u32, // the KV head's first column
  v: u32,
  d_out: u32,
  probabilities: u32,
  d_scores: u32,
  n: u32,
  cols: u32,
  kv_cols: u32,
  head_dim: u32,
  scale: f32,
  window: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

var<workgroup> tops: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = group.x;
  let row = i * p.cols + group.y * p.head_dim;
  let at = (group.y * p.n + i) * p.n;
  var top = -3.0e38;
  let first = i + 1u - min(i + 1u, p.window);
  for (var j = t; j < first; j += THREADS) {
    store(p.probabilities + at + j, 0.0);
    store(p.d_scores + at + j, 0.0);
  }
  for (var j = first + t; j <= i; j += THREADS) {
    var score = 0.0;
    var d_p = 0.0;
    for (var c = 0u; c < p.head_dim; c++) {
      score += load(p.q + row + c) * load(p.k + j * p.kv_cols + c);
      d_p += load(p.d_out + row + c) * load(p.v + j * p.kv_cols + c);
    }
    store(p.probabilities + at + j, score * p.scale);
    store(p.d_scores + at + j, d_p);
    top = max(top, score * p.scale);
  }
  tops[t] = top;
  workgroupBarrier();
  for (var k = 0u; k < THREADS; k++) {
    top = max(top, tops[k]);
  }
  // each thread meets its own numbers again
  var part = 0.0;
  var weighted = 0.0;
  for (var j = first + t; j <= i; j += THREADS) {
    let e = exp(load(p.probabilities + at + j) - top);
    store(p.probabilities + at + j, e);
    part += e;
    weighted += e * load(p.d_scores + at + j);
  }
  let sum = sum_group(part, t);
  let mean = sum_group(weighted, t) / sum;
  for (var j = first + t; j <= i; j += THREADS) {
    let probability = load(p.probabilities + at + j) / sum;
    store(p.probabilities + at + j, probability);
    store(p.d_scores + at + j, probability * (load(p.d_scores + at + j) - mean) * p.scale);
  }
}
