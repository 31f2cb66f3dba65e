// q4 weights: per block a vec4 whose low nibbles are columns 0..15 and whose high nibbles are columns 16..31 [rows, blocks];
// then scale and minimum of each block, two pairs to a vec4.
/// Block `index` of the matrix times staged block `at`: (Σ qw qx) · (dw · dx) + mw · (dx Σ qx), the first sum being exact.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let w = weights[matrix + index];
  let low = w & vec4<u32>(0x0f0f0f0fu);
  let high = (w >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
  let a = x_q[2u * at];
  let b = x_q[2u * at + 1u];
  let sum = dot4(low.x, a.x) + dot4(low.y, a.y) + dot4(low.z, a.z) + dot4(low.w, a.w)
    + dot4(high.x, b.x) + dot4(high.y, b.y) + dot4(high.z, b.z) + dot4(high.w, b.w);
  let pairs = bitcast<vec4<f32>>(weights[matrix + plane + index / 2u]);
  let pair = select(pairs.xy, pairs.zw, index % 2u == 1u);
  return f32(sum) * (pair.x * x_d[at]) + pair.y * x_sum[at];
}
