// Joins the stretches of attention.wgsl: out = Σ_s e^(max_s - max) acc_s / Σ_s e^(max_s - max) sum_s, per row and head.
// Prepares the product that follows: out quantized (q8, q4), and each head's share of h = m (A x) of that product's segments.
// out [n, heads × headDim]. h [heads, stride], for n = 1. Grid: (heads, n). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include x
const UNIT: u32 = 4u;
fn put_unit(at: u32, v: ptr<function, array<f32, UNIT>>) {}
fn keep_unit(at: u32, to: u32, unit: u32, units: u32) {}
//# include bank
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 { return 0.0; }
//# include segment
struct Segment { first_group: u32, output: u32, rank: u32, h: u32, a: u32, a_plane: u32, b: u32,
  b_plane: u32, bias: u32, m: u32 }
fn segment_m(segment: Segment, row: u32) -> f32 { return 0.0; }
//# end

struct Params {
  out: u32,
  splits: u32,
  partial_in: u32, // [n × heads, splits, 2 + headDim]
  heads: u32,
  head_dim: u32, // at most THREADS · COLUMNS; a multiple of a unit where something follows
  keep: u32, // where out is kept as the next product's input, or NONE
  segments: u32, // of the next product
  h: u32,
  h_stride: u32,
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

/// Of a head, per thread: at most 4.
override COLUMNS: u32 = 2u;
override WIDEST: u32 = THREADS * COLUMNS;
var<workgroup> values: array<f32, WIDEST>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let d = p.head_dim;
  let at = group.y * p.heads + group.x;
  let base = p.partial_in + at * p.splits * (d + 2u);
  var top = -3.0e38;
  for (var s = 0u; s < p.splits; s++) {
    top = max(top, load(base + s * (d + 2u)));
  }
  var total = 0.0;
  for (var s = 0u; s < p.splits; s++) {
    total += exp(load(base + s * (d + 2u)) - top) * load(base + s * (d + 2u) + 1u);
  }
  for (var c = t; c < d; c += THREADS) {
    var sum = 0.0;
    for (var s = 0u; s < p.splits; s++) {
      sum += exp(load(base + s * (d + 2u)) - top) * load(base + s * (d + 2u) + 2u + c);
    }
    values[c] = sum / total;
    store(p.out + at * d + c, values[c]);
  }
  if (p.keep == NONE) {
    return;
  }
  workgroupBarrier();
  let units = d / UNIT;
  let all_units = units * p.heads;
  let first = group.x * units;
  for (var u = t; u < units; u += THREADS) {
    var v: array<f32, UNIT>;
    for (var i = 0u; i < UNIT; i++) {
      v[i] = values[u * UNIT + i];
    }
    put_unit(u, &v);
    keep_unit(u, p.keep, group.y * all_units + first + u, groups.y * all_units);
  }
  workgroupBarrier();
  for (var s = 0u; s < p.segments; s++) {
    let segment = p.segment[s];
    for (var r = t; r < segment.rank; r += THREADS) {
      var sum = 0.0;
      for (var u = 0u; u < units; u++) {
        sum += bank_product(segment.a, segment.a_plane, r * all_units + first + u, u);
      }
      store(p.h + group.x * p.h_stride + segment.h + r, segment_m(segment, 0u) * sum);
    }
  }
}
