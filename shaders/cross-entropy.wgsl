// Next-token cross-entropy: losses[i] = w[i] · -log softmax(logits[i])[target[i]], and logits[i] becomes
// w[i] · (softmax(logits[i]) - onehot(target[i])). logits [n, cols]. lists: targets [n], then w [n]. Grid: (n).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(5) var<storage, read> lists: array<u32>;
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# end

struct Params {
  logits: u32,
  losses: u32,
  cols: u32,
  n: u32,
  targets: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

var<workgroup> tops: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = p.logits + group.x * p.cols;
  var top = load(row);
  for (var c = t; c < p.cols; c += THREADS) {
    top = max(top, load(row + c));
  }
  tops[t] = top;
  workgroupBarrier();
  for (var i = 0u; i < THREADS; i++) {
    top = max(top, tops[i]);
  }
  var part = 0.0;
  for (var c = t; c < p.cols; c += THREADS) {
    part += exp(load(row + c) - top);
  }
  let sum = sum_group(part, t);
  let chosen = lists[p.targets + group.x];
  let w = bitcast<f32>(lists[p.targets + p.n + group.x]);
  if (t == 0u) {
    store(p.losses + group.x, w * (log(sum) - (load(row + chosen) - top)));
  }
  storageBarrier();
  workgroupBarrier();
  for (var c = t; c < p.cols; c += THREADS) {
    let share = exp(load(row + c) - top) / sum;
    store(row + c, w * select(share, share - 1.0, c == chosen));
  }
}
