// out += ⟨a, b⟩, b repeating after `period` elements. Grid: (1). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# end

struct Params {
  out: u32,
  a: u32,
  b: u32,
  size: u32,
  period: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) t: u32) {
  var part = 0.0;
  for (var i = t; i < p.size; i += THREADS) {
    part += load(p.a + i) * load(p.b + i % p.period);
  }
  let sum = sum_group(part, t);
  if (t == 0u) {
    store(p.out, load(p.out) + sum);
  }
}
