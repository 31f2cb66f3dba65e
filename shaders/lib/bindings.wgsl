// The bindings that all shaders share; each adds its own parameters at 4.
// weights, bank: packed matrices (see README.md). memory: activations, norm weights, biases, rotary tables; f32 as bits, since
// quantized activations lie there too. kv: caches (lib/cache.wgsl). lists: the numbers of one submission (ids, m per row).
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
@group(0) @binding(3) var<storage, read_write> kv: array<u32>;
@group(0) @binding(5) var<storage, read> lists: array<u32>;

/// Of a workgroup: 32, 64 or 128.
override THREADS: u32 = 64u;
/// An address that stands for nothing.
const NONE: u32 = 0xffffffffu;

fn load(i: u32) -> f32 {
  return bitcast<f32>(memory[i]);
}

fn store(i: u32, value: f32) {
  memory[i] = bitcast<u32>(value);
}
