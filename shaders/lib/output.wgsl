// One product of a linear layer: out = [out +] W x [+ bias].
//# include bindings
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# end
struct Output {
  first_group: u32,
  rows: u32, // of this part of the matrix
  row0: u32, // its first row
  matrix: u32, // in vec4 of `weights`
  plane: u32,
  out: u32, // in elements of `memory`
  stride: u32, // of `out`, in elements
  bias: u32, // or NONE
  accumulate: u32, // 0 or 1
}

/// Row r of this part, for one token: W x and what its segments add.
fn store_output(output: Output, token: u32, r: u32, product: f32) {
  let to = output.out + token * output.stride + output.row0 + r;
  var value = product;
  if (output.bias != NONE) {
    value += load(output.bias + output.row0 + r);
  }
  if (output.accumulate == 1u) {
    value += load(to);
  }
  store(to, value);
}
