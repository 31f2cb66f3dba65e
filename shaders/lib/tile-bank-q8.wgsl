//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include tile
override TILE_ROWS: u32 = 32u;
override TILE_HALVES: u32 = 64u;
var<workgroup> w_q: array<vec4<u32>, TILE_HALVES>;
var<workgroup> w_d: array<f32, TILE_ROWS>;
var<workgroup> w_m: array<f32, TILE_ROWS>;
//# end
/// Stages block k of rows first.. of a q8 segment.
fn stage_bank(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {
  let row = first + t / 2u;
  let half = t % 2u;
  var q = vec4<u32>(0u);
  var d = 0.0;
  if (row < rows) {
    let block = row * ((cols + 31u) / 32u) + k;
    q = bank[matrix + half * plane + block];
    d = bitcast<f32>(bank[matrix + 2u * plane + block / 4u][block % 4u]);
  }
  w_q[t] = q;
  if (half == 0u) {
    w_d[t / 2u] = d;
    w_m[t / 2u] = 0.0;
  }
}
