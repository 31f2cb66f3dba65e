//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include tile
override THREADS: u32 = 64u;
override TILE_UNITS: u32 = 256u;
var<workgroup> w_f: array<vec4<f32>, TILE_UNITS>;
//# end
/// Stages columns 32 k.. of rows first.. of an f32 segment.
fn stage_bank(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {
  let units = (cols + 3u) / 4u;
  for (var i = t; i < TILE_UNITS; i += THREADS) {
    let row = first + i / 8u;
    let unit = 8u * k + i % 8u;
    var v = vec4<f32>(0.0);
    if (row < rows && unit < units) {
      v = bitcast<vec4<f32>>(bank[matrix + row * units + unit]);
    }
    w_f[i] = v;
  }
}
