// Embedding lookup: out[i] = scale · row ids[i] of the table, dequantized. out [n, cols]. Grid: (ceil(cols / THREADS), n).
// A table may lie in parts; a dispatch serves the ids within its part.
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
@group(0) @binding(5) var<storage, read> lists: array<u32>;
override THREADS: u32 = 64u;
fn store(i: u32, value: f32) {}
//# include value
fn weight_value(matrix: u32, plane: u32, row: u32, units: u32, c: u32) -> f32 { return 0.0; }
//# end

struct Params {
  out: u32,
  ids: u32, // in `lists`, or, where `chosen` is not 0, in `memory`, `chosen` apart
  chosen: u32,
  cols: u32,
  units: u32,
  scale: f32,
  matrix: u32,
  plane: u32,
  row0: u32, // of this part
  rows: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  var token = 0u;
  if (p.chosen > 0u) {
    token = memory[p.ids + id.y * p.chosen];
  } else {
    token = lists[p.ids + id.y];
  }
  if (c >= p.cols || token < p.row0 || token - p.row0 >= p.rows) {
    return;
  }
  var value = weight_value(p.matrix, p.plane, token - p.row0, p.units, c);
  if (p.scale != 1.0) { // a product with 1 could make a subnormal number 0
    value *= p.scale;
  }
  store(p.out + id.y * p.cols + c, value);
}
