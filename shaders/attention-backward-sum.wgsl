// Backward of attention over one sequence, second step, for the query heads of one KV head:
// dQ[i] = Σ_j≤i dS[i, j] k[j] (one head per workgroup), or dK[j] = Σ_heads Σ_i≥j dS[i, j] q[i], dV[j] the same of P and dOut.
// Grid: queries (n, heads of the group); keys, values (n). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# end

struct Params {
  out: u32, // first column of the group or KV head
  out_cols: u32,
  factors: u32, // dS or P [heads of the group, n, n]
  x: u32, // k, q or dOut: first column
  x_cols: u32,
  n: u32,
  head_dim: u32,
  heads: u32, // of the group; 0: queries
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  for (var c = t; c < p.head_dim; c += THREADS) {
    var sum = 0.0;
    if (p.heads == 0u) {
      let at = p.factors + (group.y * p.n + group.x) * p.n;
      for (var j = 0u; j <= group.x; j++) {
        sum += load(at + j) * load(p.x + j * p.x_cols + c);
      }
      store(p.out + group.x * p.out_cols + group.y * p.head_dim + c, sum);
      continue;
    }
    for (var h = 0u; h < p.heads; h++) {
      for (var i = group.x; i < p.n; i++) {
        let factor = load(p.factors + (h * p.n + i) * p.n + group.x);
        sum += factor * load(p.x + i * p.x_cols + h * p.head_dim + c);
      }
    }
    store(p.out + group.x * p.out_cols + c, sum);
  }
}
