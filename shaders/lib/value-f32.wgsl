/// Column `c` of a row of f32 weights with `units` vec4 per row.
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 {
  return bitcast<f32>(weights[matrix + row * units + c / 4u][c % 4u]);
}
