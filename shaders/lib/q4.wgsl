// How a block of q4 weights lies: a vec4 whose low nibbles are columns 0..15 and whose high nibbles are columns 16..31; and a word,
// the scale d in its low half and the minimum m in its high half. Both are bf16, the upper half of an f32.

/// Columns 0..15 (`half` 0) or 16..31 (1) as bytes.
fn nibbles(block: vec4<u32>, half: u32) -> vec4<u32> {
  return (block >> vec4<u32>(4u * half)) & vec4<u32>(0x0f0f0f0fu);
}

/// d and m.
fn scales_of(word: u32) -> vec2<f32> {
  return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xffff0000u));
}
