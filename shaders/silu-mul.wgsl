// Gated activation: out = silu(gate) ⊙ up, silu(z) = z / (1 + e^-z), or gelu(gate) ⊙ up, gelu(z) = z / (1 + e^-2u),
// u = √(2/π) (z + 0.044715 z³). (arXiv 2002.05202, SwiGLU and GeGLU) gate, up, out [n, cols].
// In front of it, the rest of both products' bank: gate += B h, up += B h (segments of output 0 and 1). Behind it, for the product
// that follows: out quantized (q8, q4), and for n = 1 this tile's share of h = m (A x) of its segments (output 2).
// Grid: (ceil(cols / TILE), n). `out` may be `gate`. Bindings: lib/bindings.wgsl; 4: Params.
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
//# include bank-add
const H_COLS: u32 = 64u;
struct HRegion { base: u32, parts: u32, stride: u32 }
fn stage_h(region: HRegion, segment: Segment, first: u32, t: u32) {}
fn staged_b_product(segment: Segment, row: u32, first: u32, begin: u32, step: u32) -> f32 {
  return 0.0;
}
//# end

struct Params {
  out: u32,
  gate: u32,
  up: u32,
  cols: u32,
  units: u32, // of cols
  segments: u32,
  h: u32, // of gate and up
  h_parts: u32,
  h_stride: u32,
  keep: u32, // where out is kept as the next product's input, or NONE
  next_h: u32,
  next_stride: u32,
  gelu: u32, // 1: gelu in place of silu
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

override TILE: u32 = 4u * THREADS;
var<workgroup> values: array<f32, TILE>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let column = group.x * TILE;
  let row = group.y * p.cols;
  var sums: array<array<f32, 4>, 2>; // gate, up
  for (var i = 0u; i < 4u; i++) {
    let c = column + t + i * THREADS;
    if (c < p.cols) {
      sums[0][i] = load(p.gate + row + c);
      sums[1][i] = load(p.up + row + c);
    }
  }
  var added = false;
  for (var s = 0u; s < p.segments; s++) {
    let segment = p.segment[s];
    if (segment.output == 2u) {
      continue;
    }
    added = true;
    for (var rank = 0u; rank < segment.rank; rank += H_COLS) {
      stage_h(HRegion(p.h, p.h_parts, p.h_stride), segment, rank, t);
      for (var i = 0u; i < 4u; i++) {
        let c = column + t + i * THREADS;
        if (c < p.cols) {
          sums[segment.output][i] += staged_b_product(segment, c, rank, 0u, 1u);
        }
      }
    }
    for (var i = 0u; i < 4u && segment.bias != NONE; i++) {
      let c = column + t + i * THREADS;
      if (c < p.cols) {
        sums[segment.output][i] += segment_m(segment, 0u) * load(segment.bias + c);
      }
    }
  }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    let c = column + t + i * THREADS;
    values[t + i * THREADS] = 0.0;
    if (c < p.cols) {
      let z = sums[0][i];
      let y = select(z, z * (1.5957691216 + 0.0713548128 * z * z), p.gelu == 1u);
      // below -87 the sigmoid is 0 but for 2e-38, and e^-y would soon overflow
      let activated = select(0.0, z / (1.0 + exp(min(-y, 87.0))), y > -87.0);
      let value = activated * sums[1][i];
      values[t + i * THREADS] = value;
      if (added) {
        store(p.gate + row + c, sums[0][i]); // before out, which may lie there
        store(p.up + row + c, sums[1][i]);
      }
      store(p.out + row + c, value);
    }
  }
  if (p.keep == NONE) {
    return;
  }
  workgroupBarrier();
  let first = column / UNIT;
  let n = min(TILE / UNIT, p.units - first);
  for (var u = t; u < n; u += THREADS) {
    var v: array<f32, UNIT>;
    for (var i = 0u; i < UNIT; i++) {
      v[i] = values[u * UNIT + i];
    }
    put_unit(u, &v);
    keep_unit(u, p.keep, group.y * p.units + first + u, groups.y * p.units);
  }
  workgroupBarrier();
  for (var s = 0u; s < p.segments; s++) {
    let segment = p.segment[s];
    if (segment.output != 2u) {
      continue;
    }
    for (var r = t; r < segment.rank; r += THREADS) {
      var sum = 0.0;
      for (var u = 0u; u < n; u++) {
        sum += bank_product(segment.a, segment.a_plane, r * p.units + first + u, u);
      }
      store(p.next_h + group.x * p.next_stride + segment.h + r, segment_m(segment, 0u) * sum);
    }
  }
}
