// q8 weights: columns 0..15 of every block [rows, blocks], columns 16..31 one plane further, then scales, four to a vec4.
//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# include block-q8
fn block_product(low: vec4<u32>, high: vec4<u32>, d: f32, at: u32) -> f32 { return 0.0; }
//# end
/// Block `index` of the matrix times staged block `at`.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let d = bitcast<f32>(weights[matrix + 2u * plane + index / 4u][index % 4u]);
  return block_product(weights[matrix + index], weights[matrix + plane + index], d, at);
}
