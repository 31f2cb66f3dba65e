// q4 weights: per block a vec4 whose low nibbles are columns 0..15 and whose high nibbles are columns 16..31 [rows, blocks];
// then scale and minimum of each block, two pairs to a vec4.
//# include bindings
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
//# include x
override CHUNK: u32 = 64u;
override CHUNK_HALVES: u32 = 128u;
var<workgroup> x_q: array<vec4<u32>, CHUNK_HALVES>;
var<workgroup> x_d: array<f32, CHUNK>;
var<workgroup> x_sum: array<f32, CHUNK>;
//# include dot32
fn dot32(low: vec4<u32>, high: vec4<u32>, a: vec4<u32>, b: vec4<u32>) -> i32 { return 0; }
//# end
/// Block `index` of the matrix times staged block `at`: (Σ qw qx) · (dw · dx) + mw · (dx Σ qx), the first sum being exact.
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let w = weights[matrix + index];
  let low = w & vec4<u32>(0x0f0f0f0fu);
  let high = (w >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu);
  let sum = dot32(low, high, x_q[2u * at], x_q[2u * at + 1u]);
  let pairs = bitcast<vec4<f32>>(weights[matrix + plane + index / 2u]);
  let pair = select(pairs.xy, pairs.zw, index % 2u == 1u);
  return f32(sum) * (pair.x * x_d[at]) + pair.y * x_sum[at];
}
