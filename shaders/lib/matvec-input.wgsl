// The input of matvec.wgsl on its way into workgroup memory: normed, quantized, or prepared by the pass before.
//# include bindings
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include x
const UNIT: u32 = 4u;
fn put_unit(at: u32, v: ptr<function, array<f32, UNIT>>) {}
fn fetch_unit(at: u32, source: u32, unit: u32, units: u32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# end
/// One row.
struct Input {
  x: u32,
  cols: u32,
  units: u32, // of cols
  quantized: u32, // the row as `keep_unit` left it, or NONE
  norm: u32, // norm weights, or NONE
  scale: f32, // of the norm: 1 / sqrt(mean(x²) + eps)
}

fn input_value(input: Input, c: u32) -> f32 {
  let value = load(input.x + c);
  if (input.norm == NONE) {
    return value;
  }
  return value * input.scale * load(input.norm + c);
}

/// With its scale, where there is a norm; keeps the normed row at `keep`, unless that is NONE.
fn norm_input(input: Input, eps: f32, keep: u32, t: u32) -> Input {
  if (input.norm == NONE) {
    return input;
  }
  var squares = 0.0;
  for (var c = t; c < input.cols; c += THREADS) {
    let value = load(input.x + c);
    squares += value * value;
  }
  var normed = input;
  normed.scale = inverseSqrt(sum_group(squares, t) / f32(input.cols) + eps);
  if (keep != NONE) {
    for (var c = t; c < input.cols; c += THREADS) {
      store(keep + c, input_value(normed, c));
    }
  }
  return normed;
}

/// Stages n units from `first` on.
fn stage_input(input: Input, first: u32, n: u32, t: u32) {
  workgroupBarrier();
  for (var u = t; u < n; u += THREADS) {
    if (input.quantized != NONE) {
      fetch_unit(u, input.quantized, first + u, input.units);
    } else {
      var v: array<f32, UNIT>;
      for (var i = 0u; i < UNIT; i++) {
        let c = (first + u) * UNIT + i;
        v[i] = 0.0;
        if (c < input.cols) {
          v[i] = input_value(input, c);
        }
      }
      put_unit(u, &v);
    }
  }
  workgroupBarrier();
}
