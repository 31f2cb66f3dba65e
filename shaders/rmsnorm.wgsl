// RMSNorm: out = [out +] x / sqrt(mean(x²) + eps) ⊙ weight. (arXiv 1910.07467, eq. 4) x, out [n, norms × cols]; weight [cols].
// Grid: (norms, n): one norm per row, also quantized where a product of q8 or q4 weights follows; or one per head. `out` may be `x`, unless it is added to.
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# include round-q8
fn keep_block(v: ptr<function, array<f32, 32>>, to: u32, at: u32, count: u32) {}
//# end

struct Params {
  out: u32,
  x: u32,
  weight: u32,
  cols: u32,
  eps: f32,
  add: u32, // 1: to what is in out; `keep` is NONE then
  keep: u32, // where out is kept as quantize.wgsl leaves it, or NONE
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
  for (var c = t; c < p.cols; c += THREADS) {
    let value = load(p.x + row + c);
    squares += value * value;
  }
  let scale = inverseSqrt(sum_group(squares, t) / f32(p.cols) + p.eps);
  if (p.keep == NONE) {
    for (var c = t; c < p.cols; c += THREADS) {
      var value = load(p.x + row + c) * scale * load(p.weight + c);
      if (p.add == 1u) {
        value += load(p.out + row + c);
      }
      store(p.out + row + c, value);
    }
    return;
  }
  let blocks = (p.cols + 31u) / 32u;
  for (var b = t; b < blocks; b += THREADS) {
    var v: array<f32, 32>;
    for (var i = 0u; i < 32u; i++) {
      let c = 32u * b + i;
      v[i] = 0.0;
      if (c < p.cols) {
        v[i] = load(p.x + row + c) * scale * load(p.weight + c);
        store(p.out + row + c, v[i]);
      }
    }
    keep_block(&v, p.keep, group.y * blocks + b, groups.y * blocks);
  }
}
