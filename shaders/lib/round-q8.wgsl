// The rounding of activations to int8 in blocks of 32 (src/backend/quantize.ts):
// d = max |x| / 127, q = round half to even (x · (127 / max |x|)).
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
fn store(i: u32, value: f32) {}
//# end
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

/// Keeps v, rounded, as block `at` of `count` at address `to`: words of all blocks, then each d, then each d Σ q.
fn keep_block(v: ptr<function, array<f32, 32>>, to: u32, at: u32, count: u32) {
  let block = round_block(v);
  for (var w = 0u; w < 8u; w++) {
    memory[to + 8u * at + w] = block.q[w];
  }
  store(to + 8u * count + at, block.d);
  store(to + 9u * count + at, block.sum);
}
