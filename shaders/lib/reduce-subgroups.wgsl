// Sums over threads of a workgroup: four neighbours through subgroup shuffles, the rest through workgroup memory. Every
// subgroup has at least four lanes (WebGPU's minimum), and a one-dimensional workgroup fills them in order.
enable subgroups;
//# include bindings
override THREADS: u32 = 64u;
//# end
var<workgroup> shares: array<f32, THREADS>;

fn sum_quad(value: f32) -> f32 {
  let pair = value + subgroupShuffleXor(value, 1u);
  return pair + subgroupShuffleXor(pair, 2u);
}

/// Sum over all threads, to all of them.
fn sum_group(value: f32, t: u32) -> f32 {
  let quad = sum_quad(value);
  workgroupBarrier();
  if (t % 4u == 0u) {
    shares[t / 4u] = quad;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < THREADS / 4u; i++) {
    total += shares[i];
  }
  return total;
}

/// Of strips of 16 threads with 4 rows each: thread t < THREADS / 4 gets the sum of row t % 4 of strip t / 4.
fn sum_strips(values: array<f32, 4>, t: u32) -> f32 {
  var sums = values;
  for (var i = 0u; i < 4u; i++) {
    sums[i] = sum_quad(sums[i]);
  }
  workgroupBarrier();
  if (t % 4u == 0u) {
    for (var i = 0u; i < 4u; i++) {
      shares[THREADS / 4u * i + t / 4u] = sums[i];
    }
  }
  workgroupBarrier();
  if (t >= THREADS / 4u) {
    return 0.0;
  }
  let at = THREADS / 4u * (t % 4u) + 4u * (t / 4u);
  return (shares[at] + shares[at + 1u]) + (shares[at + 2u] + shares[at + 3u]);
}
