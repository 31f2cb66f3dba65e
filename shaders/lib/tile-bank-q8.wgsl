//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include tile
fn stage_half(q: vec4<u32>, d: f32, m: f32, t: u32) {}
//# end
/// Stages block k of rows first.. of a q8 segment.
fn stage_bank(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {
  let row = first + t / 2u;
  if (row < rows) {
    let block = row * ((cols + 31u) / 32u) + k;
    let d = bitcast<f32>(bank[matrix + 2u * plane + block / 4u][block % 4u]);
    stage_half(bank[matrix + (t % 2u) * plane + block], d, 0.0, t);
  } else {
    stage_half(vec4<u32>(), 0.0, 0.0, t);
  }
}
