// B h added to the rows that a workgroup owns: each thread asks for the products of its own rows.
//# include segment
/// Columns of h that are staged at a time.
const H_COLS: u32 = 64u;
var<workgroup> h_values: array<f32, 64>;

/// Where h lies: `parts` partial sums, each `stride` numbers long.
struct HRegion {
  base: u32,
  parts: u32,
  stride: u32,
}

/// Stages h of one segment from rank `first` on, for the whole workgroup of `threads`.
fn stage_h(region: HRegion, segment: Segment, first: u32, t: u32, threads: u32) {
  let n = min(H_COLS, segment.rank - first);
  workgroupBarrier();
  for (var r = t; r < H_COLS; r += threads) {
    var sum = 0.0;
    if (r < n) {
      for (var part = 0u; part < region.parts; part++) {
        sum += load(region.base + part * region.stride + segment.h + first + r);
      }
    }
    h_values[r] = sum;
  }
  workgroupBarrier();
  for (var unit = t; unit * UNIT < n; unit += threads) {
    var v: array<f32, UNIT>;
    for (var i = 0u; i < UNIT; i++) {
      v[i] = h_values[unit * UNIT + i];
    }
    put_unit(unit, &v);
  }
  workgroupBarrier();
}

/// Row `row` of B times what is staged, units `begin`, `begin + step`, ...
fn staged_b_product(segment: Segment, row: u32, first: u32, begin: u32, step: u32) -> f32 {
  let units = (segment.rank + UNIT - 1u) / UNIT;
  let n = (min(H_COLS, segment.rank - first) + UNIT - 1u) / UNIT;
  var sum = 0.0;
  for (var unit = begin; unit < n; unit += step) {
    sum += bank_product(segment.b, segment.b_plane, row * units + first / UNIT + unit, unit);
  }
  return sum;
}
