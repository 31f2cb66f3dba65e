// Linear layers over few rows (decoding): out = [out +] W x [+ bias] + Σ_segments (B h + m bias_B), h = m (A x).
// Up to four outputs share x [n, cols]; x may be normed on its way in (rmsNorm), or come quantized. Grid: (groups, n).
// W [rows, cols] in `weights`; A, B in `bank`. A dispatch computes base products, A x, or both; B h where h is ready.
// Each workgroup owns 16 rows of one matrix: 4 strips of 4 rows, 16 lanes along the columns.
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
//# include dot4
//# include output
//# include x
//# include weights
//# include bank
//# include bank-add
//# include reduce
//# include matvec-input

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
const GROUP_ROWS: u32 = 16u;

@compute @workgroup_size(64)
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
  var first_group = output.first_group;
  var rows = output.rows;
  if (in_bank) {
    first_group = segment.first_group;
    rows = segment.rank;
  }
  let lane = t % LANES;
  let first = (group.x - first_group) * GROUP_ROWS + (t / LANES) * ROWS;

  if (p.norm != NONE) {
    x_scale = rms_scale(row, t);
    if (p.normed != NONE && group.x == 0u) {
      for (var c = t; c < p.cols; c += THREADS) {
        store(p.normed + row * p.cols + c, x_value(row, c));
      }
    }
  }

  var sums: array<f32, ROWS>;
  for (var chunk = 0u; chunk < p.units; chunk += CHUNK) {
    let n = min(CHUNK, p.units - chunk);
    stage_x(row, chunk, n, t);
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
        stage_h(region, added, rank, t, THREADS);
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
  let at = output.row0 + r;
  let to = output.out + row * output.stride + at;
  var value = sum;
  if (output.bias != NONE) {
    value += load(output.bias + at);
  }
  for (var i = 0u; i < p.segments && p.add_b == 1u; i++) {
    let added = p.segment[i];
    if (added.output == o && added.bias != NONE) {
      value += segment_m(added, row) * load(added.bias + at);
    }
  }
  if (output.accumulate == 1u) {
    value += load(to);
  }
  store(to, value);
}
