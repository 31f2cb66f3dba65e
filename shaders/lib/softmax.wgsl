// Online softmax (arXiv 2205.14135) over 8 rows of THREADS scores at a time: THREADS / 8 threads look after a row, 8 scores each.
//# include bindings
override THREADS: u32 = 64u;
//# end
const ROWS: u32 = 8u;
const LOWEST: f32 = -3.0e38; // of what is not visible
override LANES: u32 = THREADS / ROWS;
override SCORES: u32 = ROWS * THREADS;
var<workgroup> weight: array<f32, SCORES>; // [8, THREADS]: scores, then e^(s - max)
var<workgroup> shrink: array<f32, ROWS>; // e^(old max - new max)
var<workgroup> shares: array<f32, THREADS>;

/// Of the row that a thread looks after, so far.
struct Softmax {
  top: f32,
  sum: f32,
}

/// Turns the scores in `weight` into weights, and says in `shrink` what becomes of those before.
fn soften(before: Softmax, t: u32) -> Softmax {
  workgroupBarrier();
  var best = LOWEST;
  for (var i = 0u; i < 8u; i++) {
    best = max(best, weight[8u * t + i]);
  }
  shares[t] = best;
  workgroupBarrier();
  var after = before;
  for (var i = 0u; i < LANES; i++) {
    after.top = max(after.top, shares[t / LANES * LANES + i]);
  }
  workgroupBarrier();
  var part = 0.0;
  for (var i = 0u; i < 8u; i++) {
    let score = weight[8u * t + i];
    let e = select(0.0, exp(score - after.top), score > LOWEST);
    weight[8u * t + i] = e;
    part += e;
  }
  shares[t] = part;
  workgroupBarrier();
  let factor = exp(before.top - after.top);
  after.sum *= factor;
  for (var i = 0u; i < LANES; i++) {
    after.sum += shares[t / LANES * LANES + i];
  }
  if (t % LANES == 0u) {
    shrink[t / LANES] = factor;
  }
  workgroupBarrier();
  return after;
}
