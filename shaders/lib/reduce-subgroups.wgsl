// Sums over threads of a workgroup of 64, through workgroup memory.
var<workgroup> shares: array<f32, 64>;

/// Sum over all threads, to all of them.
fn sum_group(value: f32, t: u32) -> f32 {
  let lanes = sum_lanes(value, t);
  workgroupBarrier();
  if (t % 16u == 0u) {
    shares[t] = lanes;
  }
  workgroupBarrier();
  return (shares[0] + shares[16]) + (shares[32] + shares[48]);
}

/// Sum over each 16 neighbouring threads, to the first of them.
fn sum_lanes(value: f32, t: u32) -> f32 {
  workgroupBarrier();
  shares[t] = value;
  for (var step = 8u; step > 0u; step /= 2u) {
    workgroupBarrier();
    if (t % 16u < step) {
      shares[t] += shares[t + step];
    }
  }
  workgroupBarrier();
  return shares[t];
}
