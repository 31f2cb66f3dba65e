//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# include q4
fn scales_of(word: u32) -> vec2<f32> { return vec2<f32>(); }
//# end
/// Column `c` of a row of q4 weights with `units` blocks per row: d q + m.
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 {
  let block = row * units + c / 32u;
  let word = weights[matrix + block][(c % 16u) / 4u];
  let q = (word >> (8u * (c % 4u) + 4u * ((c % 32u) / 16u))) & 0xfu;
  let scales = scales_of(weights[matrix + plane + block / 4u][block % 4u]);
  return scales.x * f32(q) + scales.y;
}
