// Weights that are floats, times what is staged.
//# include floats
fn float_unit(matrix: u32, index: u32) -> vec4<f32> { return vec4<f32>(); }
//# include x
override CHUNK: u32 = 128u;
var<workgroup> x_f: array<vec4<f32>, CHUNK>;
//# end
/// Unit `index` of the matrix times staged unit `at`.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  return dot(float_unit(matrix, index), x_f[at]);
}
