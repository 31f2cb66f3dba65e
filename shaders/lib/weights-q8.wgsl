// q8 weights: columns 0..15 of every block [rows, blocks], columns 16..31 one plane further, then scales, four to a vec4.
/// Block `index` of the matrix times staged block `at`: (Σ qw qx) · (dw · dx), the sum being exact.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let low = weights[matrix + index];
  let high = weights[matrix + plane + index];
  let a = x_q[2u * at];
  let b = x_q[2u * at + 1u];
  let sum = dot4(low.x, a.x) + dot4(low.y, a.y) + dot4(low.z, a.z) + dot4(low.w, a.w)
    + dot4(high.x, b.x) + dot4(high.y, b.y) + dot4(high.z, b.z) + dot4(high.w, b.w);
  let d = bitcast<f32>(weights[matrix + 2u * plane + index / 4u][index % 4u]);
  return f32(sum) * (d * x_d[at]);
}
