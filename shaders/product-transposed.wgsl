// The transposed product of the backward pass: out = [out +] factor · y W, W dequantized. y [n, rows of all parts], W [rows, cols].
// A workgroup computes a tile of TOKENS tokens × 32 columns, each thread 4 × 4, staging 32 rows at a time.
// W lies in `weights`, where a segment's A or B may be bound as well. Grid: (ceil(cols / 32), ceil(n / TOKENS)).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include value
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 { return 0.0; }
//# end

struct Params {
  out: u32,
  cols: u32,
  y: u32, // the first row's first column of this part
  y_stride: u32,
  n: u32,
  matrix: u32,
  plane: u32,
  units: u32,
  rows: u32,
  accumulate: u32,
  factor: f32,
}
@group(0) @binding(4) var<storage, read> p: Params;

override TOKENS: u32 = THREADS / 2u;
var<workgroup> w_tile: array<vec4<f32>, 256>; // [row, 4 columns]
override Y_SIZE: u32 = 32u * TOKENS;
var<workgroup> y_tile: array<f32, Y_SIZE>; // [token, row]

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let column0 = group.x * 32u;
  let token0 = group.y * TOKENS;
  var acc: array<vec4<f32>, 4>; // [token][column]
  for (var row0 = 0u; row0 < p.rows; row0 += 32u) {
    workgroupBarrier();
    for (var i = t; i < 256u; i += THREADS) {
      let row = row0 + i / 8u;
      var v = vec4<f32>();
      for (var k = 0u; k < 4u && row < p.rows; k++) {
        let c = column0 + 4u * (i % 8u) + k;
        if (c < p.cols) {
          v[k] = weight_value(p.matrix, p.plane, row, p.units, c);
        }
      }
      w_tile[i] = v;
    }
    for (var i = t; i < Y_SIZE; i += THREADS) {
      let token = token0 + i / 32u;
      let r = row0 + i % 32u;
      y_tile[i] = 0.0;
      if (token < p.n && r < p.rows) {
        y_tile[i] = load(p.y + token * p.y_stride + r);
      }
    }
    workgroupBarrier();
    for (var r = 0u; r < 32u; r++) {
      for (var i = 0u; i < 4u; i++) {
        acc[i] += y_tile[(4u * (t / 8u) + i) * 32u + r] * w_tile[8u * r + t % 8u];
      }
    }
  }
  for (var i = 0u; i < 4u; i++) {
    let token = token0 + 4u * (t / 8u) + i;
    for (var j = 0u; j < 4u; j++) {
      let c = column0 + 4u * (t % 8u) + j;
      if (token < p.n && c < p.cols) {
        let to = p.out + token * p.cols + c;
        var value = p.factor * acc[i][j];
        if (p.accumulate == 1u) {
          value += load(to);
        }
        store(to, value);
      }
    }
  }
}
