// q8 segments, laid out as q8 weights.
/// Block `index` of A or B times staged block `at`.
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let low = bank[matrix + index];
  let high = bank[matrix + plane + index];
  let a = x_q[2u * at];
  let b = x_q[2u * at + 1u];
  let sum = dot4(low.x, a.x) + dot4(low.y, a.y) + dot4(low.z, a.z) + dot4(low.w, a.w)
    + dot4(high.x, b.x) + dot4(high.y, b.y) + dot4(high.z, b.z) + dot4(high.w, b.w);
  let d = bitcast<f32>(bank[matrix + 2u * plane + index / 4u][index % 4u]);
  return f32(sum) * (d * x_d[at]);
}
