// Linear layers over few rows (decoding): out = [out +] W x [+ bias] + Σ_segments (B h + m bias_B), h = m (A x).
// Up to four outputs share x [n, cols]; x may be normed on its way in (rmsNorm), or come quantized. Grid: (groups, n).
// W [rows, cols] in `weights`; A, B in `bank`. A dispatch computes base products, A x, or both; B h where h is ready.
// Each workgroup owns THREADS / 4 rows of one matrix: strips of 4 rows, 16 lanes along the columns.
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include segment
struct Segment { first_group: u32, output: u32, rank: u32, h: u32, a: u32, a_plane: u32, b: u32,
  b_plane: u32, bias: u32, m: u32 }
fn segment_m(segment: Segment, row: u32) -> f32 { return 0.0; }
//# include output
struct Output { first_group: u32, rows: u32, row0: u32, matrix: u32, plane: u32, out: u32,
  stride: u32, bias: u32, accumulate: u32 }
fn store_output(output: Output, token: u32, r: u32, product: f32) {}
//# include x
override CHUNK: u32 = 128u;
//# include weights
fn weight_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 { return 0.0; }
//# include bank
fn bank_product(matrix: u32, plane: u32, index: u32, at: u32) -> f32 { return 0.0; }
//# include bank-add
const H_COLS: u32 = 64u;
struct HRegion { base: u32, parts: u32, stride: u32 }
fn stage_h(region: HRegion, segment: Segment, first: u32, t: u32) {}
fn staged_b_product(segment: Segment, row: u32, first: u32, begin: u32, step: u32) -> f32 {
  return 0.0;
}
//# include reduce
fn sum_strips(values: array<f32, 4>, t: u32) -> f32 { return 0.0; }
//# include matvec-input
struct Input { x: u32, cols: u32, units: u32, quantized: u32, norm: u32, scale: f32 }
fn norm_input(input: Input, eps: f32, keep: u32, t: u32) -> Input { return input; }
fn stage_input(input: Input, first: u32, n: u32, t: u32) {}
//# end

struct Params {
  x: u32,
  cols: u32,
  units: u32, // of cols
  quantized: u32, // x as `keep_unit` left it, or NONE
  norm: u32, // norm weights, or NONE
  eps: f32,
  normed: u32, // where the normed x is kept, or NONE
  outputs: u32,
  segments: u32,
  compute_a: u32, // 1: segments' A x, in groups of their own
  add_b: u32, // 1: h is ready, add B h
  h: u32,
  h_parts: u32,
  h_stride: u32, // between parts, or rows
  output: array<Output, 4>,
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

const ROWS: u32 = 4u; // per thread
const LANES: u32 = 16u;
override GROUP_ROWS: u32 = THREADS / LANES * ROWS;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.y;
  // whose rows
  var o = 0u;
  for (var i = 1u; i < p.outputs; i++) {
    if (group.x >= p.output[i].first_group) {
      o = i;
    }
  }
  var in_bank = false;
  var s = 0u;
  if (p.compute_a == 1u) {
    for (var i = 0u; i < p.segments; i++) {
      if (group.x >= p.segment[i].first_group) {
        in_bank = true;
        s = i;
      }
    }
  }
  let output = p.output[o];
  let segment = p.segment[s];
  let first_group = select(output.first_group, segment.first_group, in_bank);
  let rows = select(output.rows, segment.rank, in_bank);
  let lane = t % LANES;
  let first = (group.x - first_group) * GROUP_ROWS + (t / LANES) * ROWS;
  let given = Input(p.x + row * p.cols, p.cols, p.units, p.quantized, p.norm, 1.0);
  let keep = select(NONE, p.normed + row * p.cols, p.normed != NONE && group.x == 0u);
  let input = norm_input(given, p.eps, keep, t);

  var sums: array<f32, ROWS>;
  for (var chunk = 0u; chunk < p.units; chunk += CHUNK) {
    let n = min(CHUNK, p.units - chunk);
    stage_input(input, chunk, n, t);
    for (var u = lane; u < n; u += LANES) {
      for (var i = 0u; i < ROWS; i++) {
        if (first + i < rows) {
          let index = (first + i) * p.units + chunk + u;
          if (in_bank) {
            sums[i] += bank_product(segment.a, segment.a_plane, index, u);
          } else {
            sums[i] += weight_product(output.matrix, output.plane, index, u);
          }
        }
      }
    }
  }
  if (p.add_b == 1u) {
    for (var i = 0u; i < p.segments; i++) {
      let added = p.segment[i];
      if (added.output != o) {
        continue;
      }
      let region = HRegion(p.h + row * p.h_stride, p.h_parts, p.h_stride);
      for (var rank = 0u; rank < added.rank; rank += H_COLS) {
        stage_h(region, added, rank, t);
        for (var r = 0u; r < ROWS; r++) {
          if (first + r < rows) {
            sums[r] += staged_b_product(added, output.row0 + first + r, rank, lane, LANES);
          }
        }
      }
    }
  }

  let sum = sum_strips(sums, t);
  let r = (group.x - first_group) * GROUP_ROWS + t;
  if (t >= GROUP_ROWS || r >= rows) {
    return;
  }
  if (in_bank) {
    store(p.h + row * p.h_stride + segment.h + r, segment_m(segment, row) * sum);
    return;
  }
  var value = sum;
  for (var i = 0u; i < p.segments && p.add_b == 1u; i++) {
    let added = p.segment[i];
    if (added.output == o && added.bias != NONE) {
      value += segment_m(added, row) * load(added.bias + output.row0 + r);
    }
  }
  store_output(output, row, r, value);
}
