// Tiles of TILE_ROWS rows × 32 tokens, 32 columns at a time, in f32.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
//# end
override TILE_ROWS: u32 = THREADS / 2u;
override TILE_UNITS: u32 = 8u * TILE_ROWS;
var<workgroup> w_f: array<vec4<f32>, TILE_UNITS>; // [TILE_ROWS, 8]
var<workgroup> x_f: array<vec4<f32>, 256>; // [32, 8]

/// How many times something is staged.
fn steps(cols: u32) -> u32 {
  return (cols + 31u) / 32u;
}

/// Columns offset + 32 k.. below `limit` of x [n, stride], tokens token0..
fn stage_x(x: u32, stride: u32, limit: u32, offset: u32, token0: u32, n: u32, k: u32, t: u32) {
  for (var i = t; i < 256u; i += THREADS) {
    let token = token0 + i / 8u;
    let first = offset + 32u * k + 4u * (i % 8u);
    var v = vec4<f32>(0.0);
    if (token < n) {
      for (var c = 0u; c < 4u && first + c < limit; c++) {
        v[c] = load(x + token * stride + first + c);
      }
    }
    x_f[i] = v;
  }
}

/// Adds the products of what is staged: rows 4 (t / 8).., of tokens 4 (t % 8).. each.
fn multiply(acc: ptr<function, array<vec4<f32>, 4>>, t: u32) {
  for (var k = 0u; k < 8u; k++) {
    let c = 32u * (t % 8u) + k;
    let x = mat4x4<f32>(x_f[c], x_f[c + 8u], x_f[c + 16u], x_f[c + 24u]);
    for (var i = 0u; i < 4u; i++) {
      (*acc)[i] += w_f[8u * (4u * (t / 8u) + i) + k] * x;
    }
  }
}
