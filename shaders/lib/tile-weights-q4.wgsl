//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# include tile
fn stage_half(q: vec4<u32>, d: f32, m: f32, t: u32) {}
//# include q4
fn nibbles(block: vec4<u32>, half: u32) -> vec4<u32> { return block; }
fn scales_of(word: u32) -> vec2<f32> { return vec2<f32>(); }
//# end
/// Stages block k of rows first.. of q4 weights.
fn stage_weights(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {
  let row = first + t / 2u;
  if (row < rows) {
    let block = row * ((cols + 31u) / 32u) + k;
    let scales = scales_of(weights[matrix + plane + block / 4u][block % 4u]);
    stage_half(nibbles(weights[matrix + block], t % 2u), scales.x, scales.y, t);
  } else {
    stage_half(vec4<u32>(), 0.0, 0.0, t);
  }
}
