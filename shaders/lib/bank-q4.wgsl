// q4 segments, laid out as q4 weights.
//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include block-q4
fn block_product(block: vec4<u32>, word: u32, at: u32) -> f32 { return 0.0; }
//# end
/// Block `index` of A or B times staged block `at`.
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let word = bank[matrix + plane + index / 4u][index % 4u];
  return block_product(bank[matrix + index], word, at);
}
