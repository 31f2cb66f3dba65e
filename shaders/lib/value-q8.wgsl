//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# end
/// Column `c` of a row of q8 weights with `units` blocks per row: d q.
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 {
  let block = row * units + c / 32u;
  let word = weights[matrix + ((c % 32u) / 16u) * plane + block][(c % 16u) / 4u];
  let q = i32(word << (24u - 8u * (c % 4u))) >> 24u;
  let d = bitcast<f32>(weights[matrix + 2u * plane + block / 4u][block % 4u]);
  return d * f32(q);
}
