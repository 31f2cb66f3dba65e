// Activations to int8 in blocks of 32 (lib/round-q8.wgsl). x [n, cols] at row stride `stride`.
// out: n × blocks × 8 words, then d [n, blocks], then d Σ q [n, blocks]. Grid: (ceil(blocks / THREADS), n).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include round-q8
struct Block { q: array<u32, 8>, d: f32, sum: f32 }
fn round_block(v: ptr<function, array<f32, 32>>) -> Block { return Block(); }
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
  let block = round_block(&v);
  let at = id.y * p.blocks + id.x;
  let count = p.n * p.blocks;
  for (var w = 0u; w < 8u; w++) {
    memory[p.out + 8u * at + w] = block.q[w];
  }
  store(p.out + 8u * count + at, block.d);
  store(p.out + 9u * count + at, block.sum);
}
