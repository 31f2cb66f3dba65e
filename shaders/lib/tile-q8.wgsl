// Tiles of 32 rows × 32 tokens, one block of 32 columns at a time, as int8: beside q8 and q4 weights.
var<workgroup> w_q: array<vec4<u32>, 64>; // [32, 2]
var<workgroup> w_d: array<f32, 32>;
var<workgroup> w_m: array<f32, 32>;
var<workgroup> x_q: array<vec4<u32>, 64>; // [32, 2]
var<workgroup> x_d: array<f32, 32>;
var<workgroup> x_sum: array<f32, 32>;

/// How many times something is staged.
fn steps(cols: u32) -> u32 {
  return (cols + 31u) / 32u;
}

/// Columns offset + 32 k.. of quantized x [n, stride], tokens token0.. (`limit` matters to f32 alone: here blocks are whole)
fn stage_x(x: u32, stride: u32, limit: u32, offset: u32, token0: u32, n: u32, k: u32, t: u32) {
  let blocks = (stride + 31u) / 32u;
  let token = token0 + t / 2u;
  let block = token * blocks + offset / 32u + k;
  let half = t % 2u;
  if (token >= n) {
    x_q[t] = vec4<u32>(0u);
    x_d[t / 2u] = 0.0;
    x_sum[t / 2u] = 0.0;
    return;
  }
  let i = x + 8u * block + 4u * half;
  x_q[t] = vec4<u32>(memory[i], memory[i + 1u], memory[i + 2u], memory[i + 3u]);
  if (half == 0u) {
    x_d[t / 2u] = load(x + 8u * n * blocks + block);
    x_sum[t / 2u] = load(x + 9u * n * blocks + block);
  }
}

/// Adds the products of what is staged.
fn multiply(acc: ptr<function, array<array<f32, 4>, 4>>, t: u32) {
  for (var i = 0u; i < 4u; i++) {
    let r = 4u * (t / 8u) + i;
    let low = w_q[2u * r];
    let high = w_q[2u * r + 1u];
    for (var j = 0u; j < 4u; j++) {
      let c = 4u * (t % 8u) + j;
      let a = x_q[2u * c];
      let b = x_q[2u * c + 1u];
      let sum = dot4(low.x, a.x) + dot4(low.y, a.y) + dot4(low.z, a.z) + dot4(low.w, a.w)
        + dot4(high.x, b.x) + dot4(high.y, b.y) + dot4(high.z, b.z) + dot4(high.w, b.w);
      (*acc)[i][j] += f32(sum) * (w_d[r] * x_d[c]) + w_m[r] * x_sum[c];
    }
  }
}
