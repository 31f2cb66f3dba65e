// out = x, or zeros where x is NONE. `size` elements. Grid: any; threads stride over it.
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
//# end

struct Params {
  out: u32,
  x: u32,
  size: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(global_invocation_id) id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  for (var i = id.x; i < p.size; i += THREADS * groups.x) {
    if (p.x == NONE) {
      memory[p.out + i] = 0u;
    } else {
      memory[p.out + i] = memory[p.x + i];
    }
  }
}
