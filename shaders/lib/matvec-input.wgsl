// The input of matvec.wgsl on its way into workgroup memory: normed, quantized, or prepared by the pass before.
const THREADS: u32 = 64u;
var<private> x_scale: f32 = 1.0;

fn x_value(row: u32, c: u32) -> f32 {
  let value = load(p.x + row * p.cols + c);
  if (p.norm == NONE) {
    return value;
  }
  return value * x_scale * load(p.norm + c);
}

/// 1 / sqrt(mean(x²) + eps)
fn rms_scale(row: u32, t: u32) -> f32 {
  var squares = 0.0;
  for (var c = t; c < p.cols; c += THREADS) {
    let value = load(p.x + row * p.cols + c);
    squares += value * value;
  }
  return inverseSqrt(sum_group(squares, t) / f32(p.cols) + p.eps);
}

fn stage_x(row: u32, first: u32, n: u32, t: u32) {
  workgroupBarrier();
  for (var u = t; u < n; u += THREADS) {
    if (p.quantized != NONE) {
      fetch_unit(u, p.quantized, first + u, p.units);
    } else {
      var v: array<f32, UNIT>;
      for (var i = 0u; i < UNIT; i++) {
        let c = (first + u) * UNIT + i;
        v[i] = 0.0;
        if (c < p.cols) {
          v[i] = x_value(row, c);
        }
      }
      put_unit(u, &v);
    }
  }
  workgroupBarrier();
}
