// Sums over threads of a workgroup, through workgroup memory: few barriers, since each costs more than the additions.
//# include bindings
override THREADS: u32 = 64u;
//# end
override SHARES: u32 = 4u * THREADS;
var<workgroup> shares: array<f32, SHARES>;

/// Sum over all threads, to all of them.
fn sum_group(value: f32, t: u32) -> f32 {
  workgroupBarrier();
  shares[t] = value;
  workgroupBarrier();
  if (t < 8u) {
    var sum = 0.0;
    for (var i = 0u; i < THREADS / 8u; i++) {
      sum += shares[THREADS / 8u * t + i];
    }
    shares[THREADS + t] = sum;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < 8u; i++) {
    total += shares[THREADS + i];
  }
  return total;
}

/// Of strips of 16 threads with 4 rows each: thread t < THREADS / 4 gets the sum of row t % 4 of strip t / 4.
fn sum_strips(values: array<f32, 4>, t: u32) -> f32 {
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    shares[THREADS * i + t] = values[i];
  }
  workgroupBarrier();
  var sum = 0.0;
  if (t < THREADS / 4u) {
    for (var i = 0u; i < 16u; i++) {
      sum += shares[THREADS * (t % 4u) + 16u * (t / 4u) + i];
    }
  }
  return sum;
}
