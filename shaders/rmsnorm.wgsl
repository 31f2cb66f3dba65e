// RMSNorm: out = x / sqrt(mean(x²) + eps) ⊙ weight, per row. (arXiv 1910.07467, eq. 4) x, out [n, cols]; weight [cols].
// Grid: (n). `out` may be `x`. Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# end

struct Params {
  out: u32,
  x: u32,
  weight: u32,
  cols: u32,
  eps: f32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x * p.cols;
  var squares = 0.0;
  for (var c = t; c < p.cols; c += THREADS) {
    let value = load(p.x + row + c);
    squares += value * value;
  }
  let scale = inverseSqrt(sum_group(squares, t) / f32(p.cols) + p.eps);
  for (var c = t; c < p.cols; c += THREADS) {
    store(p.out + row + c, load(p.x + row + c) * scale * load(p.weight + c));
  }
}
