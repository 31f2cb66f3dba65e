// q8 segments, laid out as q8 weights.
//# include bindings
@group(0) @binding(1) var<storage, read> bank: array<vec4<u32>>;
//# include x
override CHUNK: u32 = 64u;
override CHUNK_HALVES: u32 = 128u;
var<workgroup> x_q: array<vec4<u32>, CHUNK_HALVES>;
var<workgroup> x_d: array<f32, CHUNK>;
//# include dot32
fn dot32(low: vec4<u32>, high: vec4<u32>, a: vec4<u32>, b: vec4<u32>) -> i32 { return 0; }
//# end
/// Block `index` of A or B times staged block `at`.
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 {
  let low = bank[matrix + index];
  let high = bank[matrix + plane + index];
  let sum = dot32(low, high, x_q[2u * at], x_q[2u * at + 1u]);
  let d = bitcast<f32>(bank[matrix + 2u * plane + index / 4u][index % 4u]);
  return f32(sum) * (d * x_d[at]);
}
