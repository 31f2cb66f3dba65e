// f32 segments, laid out as f32 weights.
/// Unit `index` of A or B times staged unit `at`.
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  return dot(bitcast<vec4<f32>>(bank[matrix + index]), x_f[at]);
}
