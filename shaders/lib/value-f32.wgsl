//# include floats
fn float_unit(matrix: u32, index: u32) -> vec4<f32> { return vec4<f32>(); }
//# end
/// Column `c` of a row of weights that are floats, with `units` of 4 columns per row.
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 {
  return float_unit(matrix, row * units + c / 4u)[c % 4u];
}
