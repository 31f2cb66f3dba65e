// B h added to the rows that a workgroup owns: each thread asks for the products of its own rows.
//# include bindings
override THREADS: u32 = 64u;
fn load(i: u32) -> f32 { return 0.0; }
//# include segment
struct Segment { first_group: u32, output: u32, rank: u32, h: u32, a: u32, a_plane: u32, b: u32,
  b_plane: u32, bias: u32, m: u32 }
//# include x
const UNIT: u32 = 4u;
fn put_unit(at: u32, v: ptr<function, array<f32, UNIT>>) {}
//# include bank
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 { return 0.0; }
//# end
/// Columns of h that are staged at a time.
const H_COLS: u32 = 64u;
var<workgroup> h_values: array<f32, H_COLS>;

/// Where h lies: `parts` partial sums, each `stride` numbers long.
struct HRegion {
  base: u32,
  parts: u32,
  stride: u32,
}

/// Stages h of one segment from rank `first` on, for the whole workgroup.
fn stage_h(region: HRegion, segment: Segment, first: u32, t: u32) {
  let n = min(H_COLS, segment.rank - first);
  workgroupBarrier();
  for (var r = t; r < H_COLS; r += THREADS) {
    var sum = 0.0;
    if (r < n) {
      for (var part = 0u; part < region.parts; part++) {
        sum += load(region.base + part * region.stride + segment.h + first + r);
      }
    }
    h_values[r] = sum;
  }
  workgroupBarrier();
  for (var unit = t; unit * UNIT < n; unit += THREADS) {
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
