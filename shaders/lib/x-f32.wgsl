// Staged activations beside f32 weights: units of 4 columns in workgroup memory.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# end
const UNIT: u32 = 4u;
/// Units that are staged at a time.
override CHUNK: u32 = 2u * THREADS;
var<workgroup> x_f: array<vec4<f32>, CHUNK>;

fn put_unit(at: u32, v: ptr<function, array<f32, UNIT>>) {
  x_f[at] = vec4<f32>((*v)[0], (*v)[1], (*v)[2], (*v)[3]);
}

/// Keeps staged unit `at` in memory as unit `unit` at address `to`.
fn keep_unit(at: u32, to: u32, unit: u32, units: u32) {
  for (var i = 0u; i < 4u; i++) {
    store(to + 4u * unit + i, x_f[at][i]);
  }
}

/// The reverse of `keep_unit`.
fn fetch_unit(at: u32, source: u32, unit: u32, units: u32) {
  let i = source + 4u * unit;
  x_f[at] = vec4<f32>(load(i), load(i + 1u), load(i + 2u), load(i + 3u));
}
