// f32 weights [rows, units]: a unit is a vec4 of columns.
/// Unit `index` of the matrix times staged unit `at`.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  return dot(bitcast<vec4<f32>>(weights[matrix + index]), x_f[at]);
}
