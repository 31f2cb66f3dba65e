// Weights that are floats, as their file holds them: a unit is 4 columns, [rows, units]; of 16-bit floats two units to a vec4.
// Either way they mean the same f32 numbers.
//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# end
/// 0: f32, 1: f16, 2: bf16.
override FLOATS: u32 = 0u;

/// Unit `index` of the matrix.
fn float_unit(matrix: u32, index: u32) -> vec4<f32> {
  if (FLOATS == 0u) {
    return bitcast<vec4<f32>>(weights[matrix + index]);
  }
  let two = weights[matrix + index / 2u];
  let words = select(two.xy, two.zw, index % 2u == 1u);
  if (FLOATS == 1u) {
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
  }
  let low = words << vec2<u32>(16u);
  let high = words & vec2<u32>(0xffff0000u);
  return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}
