// Activations to int8 in blocks of 32 (lib/round-q8.wgsl). x [n, cols] at row stride `stride`.
// out: n × blocks × 8 words, then d [n, blocks], then d Σ q [n, blocks]. Grid: (ceil(blocks / THREADS), n).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
//# include round-q8
fn keep_block(v: ptr<function, array<f32, 32>>, to: u32, at: u32, count: u32) {}
//# end

struct Params {
  out: u32,
  x: u32,
  stride: u32,
  cols: u32,
  blocks: u32,
  n: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= p.blocks) {
    return;
  }
  var v: array<f32, 32>;
  for (var i = 0u; i < 32u; i++) {
    let c = 32u * id.x + i;
    v[i] = 0.0;
    if (c < p.cols) {
      v[i] = load(p.x + id.y * p.stride + c);
    }
  }
  keep_block(&v, p.out, id.y * p.blocks + id.x, p.n * p.blocks);
}
