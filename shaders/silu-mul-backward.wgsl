// Backward of silu-mul.wgsl: dUp = dOut silu(z), dGate = dOut up σ(z) (1 + z (1 - σ(z))), z = gate, 1 - σ(z) = σ(-z);
// or of gelu: with y = z (a + b z²), a = √(8/π), b = 0.044715 a, dUp = dOut z σ(y), dGate = dOut up σ(y) (1 + z (a + 3 b z²) σ(-y)).
// `size` elements; dGate may be dOut. Grid: any; threads stride over it. Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# end

struct Params {
  d_gate: u32,
  d_up: u32,
  d_out: u32,
  gate: u32,
  up: u32,
  size: u32,
  gelu: u32, // 1: gelu in place of silu
}
@group(0) @binding(4) var<storage, read> p: Params;

/// 1 / (1 + e^-z); beyond 87 e^z would overflow
fn sigmoid(z: f32) -> f32 {
  return select(0.0, 1.0 / (1.0 + exp(min(-z, 87.0))), z > -87.0);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(global_invocation_id) id: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
) {
  for (var i = id.x; i < p.size; i += THREADS * groups.x) {
    let z = load(p.gate + i);
    let d = load(p.d_out + i);
    var y = z;
    var slope = 1.0;
    if (p.gelu == 1u) {
      y = z * (1.5957691216 + 0.0713548128 * z * z);
      slope = 1.5957691216 + 3.0 * 0.0713548128 * z * z;
    }
    let s = sigmoid(y);
    store(p.d_up + i, d * z * s);
    store(p.d_gate + i, d * load(p.up + i) * s * (1.0 + z * slope * sigmoid(-y)));
  }
}
