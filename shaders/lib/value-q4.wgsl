//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# end
/// Column `c` of a row of q4 weights with `units` blocks per row: d q + m.
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 {
  let block = row * units + c / 32u;
  let word = weights[matrix + block][(c % 16u) / 4u];
  let q = (word >> (8u * (c % 4u) + 4u * ((c % 32u) / 16u))) & 0xfu;
  let pairs = bitcast<vec4<f32>>(weights[matrix + plane + block / 2u]);
  let pair = select(pairs.xy, pairs.zw, block % 2u == 1u);
  return pair.x * f32(q) + pair.y;
}
