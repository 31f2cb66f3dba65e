// q8 segments, laid out as q8 weights.
//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include block-q8
fn block_product(low: vec4<u32>, high: vec4<u32>, d: f32, at: u32) -> f32 { return 0.0; }
//# end
/// Block `index` of A or B times staged block `at`.
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let d = bitcast<f32>(bank[matrix + 2u * plane + index / 4u][index % 4u]);
  return block_product(bank[matrix + index], bank[matrix + plane + index], d, at);
}
