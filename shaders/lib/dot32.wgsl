//# include dot4
fn dot4(a: u32, b: u32) -> i32 { return 0; }
//# end
/// Exact sum of 32 products of signed bytes: columns 0..15 of a block, then columns 16..31.
fn dot32(low: vec4<u32>, high: vec4<u32>, a: vec4<u32>, b: vec4<u32>) -> i32 {
  return dot4(low.x, a.x) + dot4(low.y, a.y) + dot4(low.z, a.z) + dot4(low.w, a.w)
    + dot4(high.x, b.x) + dot4(high.y, b.y) + dot4(high.z, b.z) + dot4(high.w, b.w);
}
