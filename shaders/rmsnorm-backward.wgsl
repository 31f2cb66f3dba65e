// Backward of rmsnorm.wgsl: with r = 1 / sqrt(mean(x²) + eps) and g = dOut ⊙ weight, dX += r g - x r³ mean(g ⊙ x).
// dX, dOut, x [n, norms × cols]; weight [cols]. Grid: (norms, n): 1, or one per head. Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# end

struct Params {
  d_x: u32,
  d_out: u32,
  x: u32,
  weight: u32,
  cols: u32,
  eps: f32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = (group.y * groups.x + group.x) * p.cols;
  var squares = 0.0;
  var products = 0.0;
  for (var c = t; c < p.cols; c += THREADS) {
    let x = load(p.x + row + c);
    squares += x * x;
    products += load(p.d_out + row + c) * load(p.weight + c) * x;
  }
  let r = inverseSqrt(sum_group(squares, t) / f32(p.cols) + p.eps);
  let mean = sum_group(products, t) / f32(p.cols);
  for (var c = t; c < p.cols; c += THREADS) {
    let at = row + c;
    let g = load(p.d_out + at) * load(p.weight + c);
    store(p.d_x + at, load(p.d_x + at) + (r * g - load(p.x + at) * r * r * r * mean));
  }
}
