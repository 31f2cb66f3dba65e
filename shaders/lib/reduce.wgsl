// Sums over threads of a workgroup of 64, through workgroup memory: few barriers, since each costs more than the additions.
var<workgroup> shares: array<f32, 256>;

/// Sum over all threads, to all of them.
fn sum_group(value: f32, t: u32) -> f32 {
  workgroupBarrier();
  shares[t] = value;
  workgroupBarrier();
  if (t < 8u) {
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) {
      sum += shares[8u * t + i];
    }
    shares[64u + t] = sum;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < 8u; i++) {
    total += shares[64u + i];
  }
  return total;
}

/// Of strips of 16 threads with 4 rows each: thread t < 16 gets the sum of row t % 4 of strip t / 4.
fn sum_strips(values: array<f32, 4>, t: u32) -> f32 {
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    shares[64u * i + t] = values[i];
  }
  workgroupBarrier();
  var sum = 0.0;
  if (t < 16u) {
    for (var i = 0u; i < 16u; i++) {
      sum += shares[64u * (t % 4u) + 16u * (t / 4u) + i];
    }
  }
  return sum;
}
