// The rounding of activations to int8 in blocks of 32 (src/backend/quantize.ts):
// d = max |x| / 127, q = round half to even (x · (127 / max |x|)).
struct Block {
  q: array<u32, 8>, // four bytes each
  d: f32,
  sum: f32, // d · Σ q
}

fn round_block(v: ptr<function, array<f32, 32>>) -> Block {
  var amax = 0.0;
  for (var i = 0u; i < 32u; i++) {
    amax = max(amax, abs((*v)[i]));
  }
  var block: Block;
  // below this 127 / amax is no finite number
  if (amax < 3.733e-37) {
    return block;
  }
  let inverse = 127.0 / amax;
  var sum = 0;
  for (var w = 0u; w < 8u; w++) {
    var word = 0u;
    for (var i = 0u; i < 4u; i++) {
      let q = clamp(i32(round((*v)[4u * w + i] * inverse)), -127, 127);
      sum += q;
      word |= (u32(q) & 0xffu) << (8u * i);
    }
    block.q[w] = word;
  }
  block.d = amax / 127.0;
  block.sum = block.d * f32(sum);
  return block;
}
