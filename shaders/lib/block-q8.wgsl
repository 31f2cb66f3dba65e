//# include x
override CHUNK: u32 = 64u;
override CHUNK_HALVES: u32 = 128u;
var<workgroup> x_q: array<vec4<u32>, CHUNK_HALVES>;
var<workgroup> x_d: array<f32, CHUNK>;
//# include dot32
fn dot32(low: vec4<u32>, high: vec4<u32>, a: vec4<u32>, b: vec4<u32>) -> i32 { return 0; }
//# end
/// A q8 block times staged block `at`: (Σ qw qx) · (dw · dx), the sum being exact.
fn block_product(low: vec4<u32>, high: vec4<u32>, d: f32, at: u32) -> f32 {
  return f32(dot32(low, high, x_q[2u * at], x_q[2u * at + 1u])) * (d * x_d[at]);
}
