// Linear layers over many rows (prefill): out = [out +] W x [+ bias] + Σ_segments (B h + m bias_B).
// x [n, cols]: f32, or quantized (quantize.wgsl). The same shader computes h = m (A x) of all segments (compute_a).
// W [rows, cols] in `weights`; A, B in `bank`; h [n, stride], segments padded to whole units.
// A workgroup computes a tile of TILE_ROWS rows × 32 tokens, each thread 4 × 4, staging 32 columns at a time. The bank's tiles are
// staged like the base's and run into the same sums. Grid: (tiles of rows of all outputs, ceil(n / 32)).
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
//# include tile
override TILE_ROWS: u32 = 32u;
fn steps(cols: u32) -> u32 { return 0u; }
fn stage_x(x: u32, stride: u32, limit: u32, offset: u32, token0: u32, n: u32, k: u32, t: u32) {}
fn multiply(acc: ptr<function, array<vec4<f32>, 4>>, t: u32) {}
//# include tile-weights
fn stage_weights(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {}
//# include tile-bank
fn stage_bank(matrix: u32, plane: u32, rows: u32, cols: u32, first: u32, k: u32, t: u32) {}
//# end

struct Params {
  x: u32, // f32 [n, cols], or quantized
  n: u32,
  cols: u32,
  outputs: u32,
  segments: u32,
  compute_a: u32,
  h: u32, // f32 [n, h_stride]
  h_stride: u32,
  h_x: u32, // h as an input: itself, or quantized
  output: array<Output, 4>,
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let token0 = group.y * 32u;
  var acc: array<vec4<f32>, 4>; // [row][token]
  if (p.compute_a == 1u) {
    var s = 0u;
    for (var i = 1u; i < p.segments; i++) {
      if (group.x >= p.segment[i].first_group) {
        s = i;
      }
    }
    let segment = p.segment[s];
    let first = (group.x - segment.first_group) * TILE_ROWS;
    for (var k = 0u; k < steps(p.cols); k++) {
      workgroupBarrier();
      stage_bank(segment.a, segment.a_plane, segment.rank, p.cols, first, k, t);
      stage_x(p.x, p.cols, p.cols, 0u, token0, p.n, k, t);
      workgroupBarrier();
      multiply(&acc, t);
    }
    for (var j = 0u; j < 4u; j++) {
      let token = token0 + 4u * (t % 8u) + j;
      for (var i = 0u; i < 4u && token < p.n; i++) {
        let r = first + 4u * (t / 8u) + i;
        if (r < (segment.rank + 31u) / 32u * 32u) {
          store(p.h + token * p.h_stride + segment.h + r, segment_m(segment, token) * acc[i][j]);
        }
      }
    }
    return;
  }

  var o = 0u;
  for (var i = 1u; i < p.outputs; i++) {
    if (group.x >= p.output[i].first_group) {
      o = i;
    }
  }
  let output = p.output[o];
  let first = (group.x - output.first_group) * TILE_ROWS;
  for (var k = 0u; k < steps(p.cols); k++) {
    workgroupBarrier();
    stage_weights(output.matrix, output.plane, output.rows, p.cols, first, k, t);
    stage_x(p.x, p.cols, p.cols, 0u, token0, p.n, k, t);
    workgroupBarrier();
    multiply(&acc, t);
  }
  for (var s = 0u; s < p.segments; s++) {
    let segment = p.segment[s];
    if (segment.output != o) {
      continue;
    }
    let end = output.row0 + output.rows;
    for (var k = 0u; k < steps(segment.rank); k++) {
      workgroupBarrier();
      stage_bank(segment.b, segment.b_plane, end, segment.rank, output.row0 + first, k, t);
      stage_x(p.h_x, p.h_stride, segment.h + segment.rank, segment.h, token0, p.n, k, t);
      workgroupBarrier();
      multiply(&acc, t);
    }
  }
  for (var j = 0u; j < 4u; j++) {
    let token = token0 + 4u * (t % 8u) + j;
    for (var i = 0u; i < 4u; i++) {
      let r = first + 4u * (t / 8u) + i;
      if (token >= p.n || r >= output.rows) {
        continue;
      }
      let at = output.row0 + r;
      var value = acc[i][j];
      for (var s = 0u; s < p.segments; s++) {
        if (p.segment[s].output == o && p.segment[s].bias != NONE) {
          value += segment_m(p.segment[s], token) * load(p.segment[s].bias + at);
        }
      }
      store_output(output, token, r, value);
    }
  }
}
