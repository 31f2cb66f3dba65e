/// Stages columns 32 k.. of rows first.. of an f32 segment.
fn stage_bank(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {
  let units = (cols + 3u) / 4u;
  for (var i = t; i < 256u; i += 64u) {
    let row = first + i / 8u;
    let unit = 8u * k + i % 8u;
    var v = vec4<f32>(0.0);
    if (row < rows && unit < units) {
      v = bitcast<vec4<f32>>(bank[matrix + row * units + unit]);
    }
    w_f[i] = v;
  }
}
