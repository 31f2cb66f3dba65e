// f32 segments, laid out as f32 weights.
//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include x
override CHUNK: u32 = 128u;
var<workgroup> x_f: array<vec4<f32>, CHUNK>;
//# end
/// Unit `index` of A or B times staged unit `at`.
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  return dot(bitcast<vec4<f32>>(bank[matrix + index]), x_f[at]);
}
