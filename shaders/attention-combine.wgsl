// Joins the stretches of attention.wgsl: out = Σ_s e^(max_s - max) acc_s / Σ_s e^(max_s - max) sum_s, per row and head.
// Prepares the product that follows: out quantized (q8, q4), and each head's share of h = m (A x) of that product's segments.
// out [n, heads × headDim]. h [heads, stride], for n = 1. Grid: (heads, n). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
//# include dot4
//# include x
//# include bank
//# include segment

struct Params {
  out: u32,
  splits: u32,
  partial_in: u32, // [n × heads, splits, 2 + headDim]
  heads: u32,
  head_dim: u32, // at most 128; a multiple of a unit where something follows
  keep: u32, // where out is kept as the next product's input, or NONE
  segments: u32, // of the next product
  h: u32,
  h_stride: u32,
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

var<workgroup> values: array<f32, 128>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
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
  for (var c = t; c < d; c += 64u) {
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
  for (var u = t; u < units; u += 64u) {
    var v: array<f32, UNIT>;
    for (var i = 0u; i < UNIT; i++) {
      v[i] = values[u * UNIT + i];
    }
    put_unit(u, &v);
    keep_unit(u, p.keep, first + u, all_units);
  }
  workgroupBarrier();
  for (var s = 0u; s < p.segments; s++) {
    let segment = p.segment[s];
    for (var r = t; r < segment.rank; r += 64u) {
      var sum = 0.0;
      for (var u = 0u; u < units; u++) {
        sum += bank_product(segment.a, segment.a_plane, r * all_units + first + u, u);
      }
      store(p.h + group.x * p.h_stride + segment.h + r, segment_m(segment, 0u) * sum);
    }
  }
}
