// q4 weights (lib/q4.wgsl): blocks [rows, blocks], then their words, four to a vec4.
//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# include block-q4
fn block_product(block: vec4<u32>, word: u32, at: u32) -> f32 { return 0.0; }
//# end
/// Block `index` of the matrix times staged block `at`.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let word = weights[matrix + plane + index / 4u][index % 4u];
  return block_product(weights[matrix + index], word, at);
}
