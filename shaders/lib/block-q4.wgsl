//# include x
override CHUNK: u32 = 64u;
override CHUNK_HALVES: u32 = 128u;
var<workgroup> x_q: array<vec4<u32>, CHUNK_HALVES>;
var<workgroup> x_d: array<f32, CHUNK>;
var<workgroup> x_sum: array<f32, CHUNK>;
//# include dot32
fn dot32(low: vec4<u32>, high: vec4<u32>, a: vec4<u32>, b: vec4<u32>) -> i32 { return 0; }
//# include q4
fn nibbles(block: vec4<u32>, half: u32) -> vec4<u32> { return block; }
fn scales_of(word: u32) -> vec2<f32> { return vec2<f32>(); }
//# end
/// A q4 block times staged block `at`: (Σ qw qx) · (dw · dx) + mw · (dx Σ qx), the first sum being exact.
fn block_product(block: vec4<u32>, word: u32, at: u32) -> f32 {
  let sum = dot32(nibbles(block, 0u), nibbles(block, 1u), x_q[2u * at], x_q[2u * at + 1u]);
  let scales = scales_of(word);
  return f32(sum) * (scales.x * x_d[at]) + scales.y * x_sum[at];
}
