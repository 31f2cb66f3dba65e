// The product of the backward pass, activations not rounded: out [n, rows] = x Wᵀ, W dequantized. For the few rows of a segment's A.
// W lies in `weights`, where a segment's A is bound. Grid: (ceil(rows / THREADS), n). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include value
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 { return 0.0; }
//# end

struct Params {
  out: u32,
  x: u32, // [n, cols]
  cols: u32,
  matrix: u32,
  plane: u32,
  units: u32,
  rows: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.rows) {
    return;
  }
  var sum = 0.0;
  for (var c = 0u; c < p.cols; c++) {
    sum += weight_value(p.matrix, p.plane, id.x, p.units, c) * load(p.x + id.y * p.cols + c);
  }
  store(p.out + id.y * p.rows + id.x, sum);
}
