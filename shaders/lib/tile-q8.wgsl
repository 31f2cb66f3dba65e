// Tiles of TILE_ROWS rows × 32 tokens, one block of 32 columns at a time, as int8: beside q8 and q4 weights.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
//# include dot32
fn dot32(low: vec4<u32>, high: vec4<u32>, a: vec4<u32>, b: vec4<u32>) -> i32 { return 0; }
//# end
override TILE_ROWS: u32 = THREADS / 2u;
override TILE_HALVES: u32 = 2u * TILE_ROWS;
var<workgroup> w_q: array<vec4<u32>, TILE_HALVES>; // [TILE_ROWS, 2]
var<workgroup> w_d: array<f32, TILE_ROWS>;
var<workgroup> w_m: array<f32, TILE_ROWS>;
var<workgroup> x_q: array<vec4<u32>, 64>; // [32, 2]
var<workgroup> x_d: array<f32, 32>;
var<workgroup> x_sum: array<f32, 32>;

/// How many times something is staged.
fn steps(cols: u32) -> u32 {
  return (cols + 31u) / 32u;
}

/// Thread t's half of a row's block; the row's d and m, 0 with q8.
fn stage_half(q: vec4<u32>, d: f32, m: f32, t: u32) {
  w_q[t] = q;
  if (t % 2u == 0u) {
    w_d[t / 2u] = d;
    w_m[t / 2u] = m;
  }
}

/// Columns offset + 32 k.. of quantized x [n, stride], tokens token0.. (`limit` matters to f32 alone: here blocks are whole)
fn stage_x(x: u32, stride: u32, limit: u32, offset: u32, token0: u32, n: u32, k: u32, t: u32) {
  let blocks = (stride + 31u) / 32u;
  for (var i = t; i < 64u; i += THREADS) {
    let token = token0 + i / 2u;
    let block = token * blocks + offset / 32u + k;
    let half = i % 2u;
    var q = vec4<u32>(0u);
    var d = 0.0;
    var sum = 0.0;
    if (token < n) {
      let at = x + 8u * block + 4u * half;
      q = vec4<u32>(memory[at], memory[at + 1u], memory[at + 2u], memory[at + 3u]);
      d = load(x + 8u * n * blocks + block);
      sum = load(x + 9u * n * blocks + block);
    }
    x_q[i] = q;
    if (half == 0u) {
      x_d[i / 2u] = d;
      x_sum[i / 2u] = sum;
    }
  }
}

/// Adds the products of what is staged: rows 4 (t / 8).., of tokens 4 (t % 8).. each.
fn multiply(acc: ptr<function, array<vec4<f32>, 4>>, t: u32) {
  let c = 4u * (t % 8u);
  let a0 = x_q[2u * c];
  let b0 = x_q[2u * c + 1u];
  let a1 = x_q[2u * c + 2u];
  let b1 = x_q[2u * c + 3u];
  let a2 = x_q[2u * c + 4u];
  let b2 = x_q[2u * c + 5u];
  let a3 = x_q[2u * c + 6u];
  let b3 = x_q[2u * c + 7u];
  let d = vec4<f32>(x_d[c], x_d[c + 1u], x_d[c + 2u], x_d[c + 3u]);
  let sum = vec4<f32>(x_sum[c], x_sum[c + 1u], x_sum[c + 2u], x_sum[c + 3u]);
  for (var i = 0u; i < 4u; i++) {
    let r = 4u * (t / 8u) + i;
    let low = w_q[2u * r];
    let high = w_q[2u * r + 1u];
    let products = vec4<i32>(
      dot32(low, high, a0, b0), dot32(low, high, a1, b1),
      dot32(low, high, a2, b2), dot32(low, high, a3, b3),
    );
    (*acc)[i] += vec4<f32>(products) * (w_d[r] * d) + w_m[r] * sum;
  }
}
