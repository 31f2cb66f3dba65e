// Staged activations beside q8 and q4 weights: units of 32 columns, quantized, in workgroup memory.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include round-q8
struct Block { q: array<u32, 8>, d: f32, sum: f32 }
fn round_block(v: ptr<function, array<f32, 32>>) -> Block { return Block(); }
//# end
const UNIT: u32 = 32u;
/// Units that are staged at a time.
override CHUNK: u32 = THREADS;
override CHUNK_HALVES: u32 = 2u * CHUNK;
var<workgroup> x_q: array<vec4<u32>, CHUNK_HALVES>;
var<workgroup> x_d: array<f32, CHUNK>;
var<workgroup> x_sum: array<f32, CHUNK>;

fn put_unit(at: u32, v: ptr<function, array<f32, UNIT>>) {
  let block = round_block(v);
  x_q[2u * at] = vec4<u32>(block.q[0], block.q[1], block.q[2], block.q[3]);
  x_q[2u * at + 1u] = vec4<u32>(block.q[4], block.q[5], block.q[6], block.q[7]);
  x_d[at] = block.d;
  x_sum[at] = block.sum;
}

/// Keeps staged unit `at` in memory as unit `unit` of `units` at address `to`: words, then d, then sums.
fn keep_unit(at: u32, to: u32, unit: u32, units: u32) {
  for (var w = 0u; w < 8u; w++) {
    memory[to + 8u * unit + w] = x_q[2u * at + w / 4u][w % 4u];
  }
  store(to + 8u * units + unit, x_d[at]);
  store(to + 9u * units + unit, x_sum[at]);
}

/// The reverse of `keep_unit`.
fn fetch_unit(at: u32, source: u32, unit: u32, units: u32) {
  let i = source + 8u * unit;
  x_q[2u * at] = vec4<u32>(memory[i], memory[i + 1u], memory[i + 2u], memory[i + 3u]);
  x_q[2u * at + 1u] = vec4<u32>(memory[i + 4u], memory[i + 5u], memory[i + 6u], memory[i + 7u]);
  x_d[at] = load(source + 8u * units + unit);
  x_sum[at] = load(source + 9u * units + unit);
}
