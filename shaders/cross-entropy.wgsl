// Next-token cross-entropy: losses[i] = w[i] · -log softmax(logits[i])[target[i]], and logits[i] becomes
// w[i] · (softmax(logits[i]) - onehot(target[i])). logits [n, cols]. lists: targets [n], then w [n]. Grid: (n).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
//# include reduce

struct Params {
  logits: u32,
  losses: u32,
  cols: u32,
  n: u32,
  targets: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

var<workgroup> tops: array<f32, 64>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = p.logits + group.x * p.cols;
  var top = load(row);
  for (var c = t; c < p.cols; c += 64u) {
    top = max(top, load(row + c));
  }
  tops[t] = top;
  workgroupBarrier();
  for (var i = 0u; i < 64u; i++) {
    top = max(top, tops[i]);
  }
  var part = 0.0;
  for (var c = t; c < p.cols; c += 64u) {
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
  for (var c = t; c < p.cols; c += 64u) {
    let share = exp(load(row + c) - top) / sum;
    store(row + c, w * select(share, share - 1.0, c == chosen));
  }
}
