// What follows the products q, k and v: the rest of their bank (B h), norms of heads (rmsnorm.wgsl), rotary embedding, and storing k
// and v in the cache.
// Up to three inputs x [rows, heads × headDim], in place; element j pairs with j + headDim / 2 (arXiv 2104.09864):
// (a, b) → (a cos - b sin, b cos + a sin). Cache: lib/cache.wgsl.
// Grid: (heads of all inputs, rows). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(5) var<storage, read> lists: array<u32>;
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
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
//# include cache
struct Place { base: u32, length: u32, head_dim: u32 }
fn values_behind(keys: Place, kv_heads: u32) -> Place { return keys; }
fn keep_pair(place: Place, is_key: bool, head: u32, position: u32, j: u32, pair: vec2<f32>) {}
//# end

struct Input {
  first_head: u32, // workgroup where its heads begin
  x: u32,
  cols: u32,
  norm: u32, // weight of a norm [headDim], where headDim is at most 2 THREADS; or NONE
  turn: u32, // 0: none, 1: forward, 2: backward
  keep: u32, // 0: not in the cache, 1: as keys, 2: as values
}

struct Params {
  inputs: u32,
  segments: u32, // `output` of each is the input it adds to
  head_dim: u32, // even
  table: u32, // cos and sin [length, headDim / 2, 2]
  items: u32, // in `lists`, per row: itself, its position, cache (base, length)
  h: u32,
  h_parts: u32,
  h_stride: u32,
  eps: f32, // of norms
  input: array<Input, 3>,
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  var i = 0u;
  for (var k = 1u; k < p.inputs; k++) {
    if (group.x >= p.input[k].first_head) {
      i = k;
    }
  }
  let input = p.input[i];
  let head = group.x - input.first_head;
  let half = p.head_dim / 2u;
  let first = head * p.head_dim; // column
  let item = p.items + 4u * group.y;
  let row = lists[item];
  let x = input.x + row * input.cols + first;
  let position = lists[item + 1u];
  var place = Place(lists[item + 2u], lists[item + 3u], p.head_dim);
  if (input.keep == 2u) {
    place = values_behind(place, input.cols / p.head_dim);
  }

  for (var j0 = 0u; j0 < half; j0 += THREADS) {
    let j = j0 + t;
    let inside = j < half;
    var pair = vec2<f32>();
    if (inside) {
      pair = vec2<f32>(load(x + j), load(x + j + half));
    }
    for (var s = 0u; s < p.segments; s++) {
      let segment = p.segment[s];
      if (segment.output != i) {
        continue;
      }
      for (var rank = 0u; rank < segment.rank; rank += H_COLS) {
        stage_h(HRegion(p.h, p.h_parts, p.h_stride), segment, rank, t);
        if (inside) {
          pair.x += staged_b_product(segment, first + j, rank, 0u, 1u);
          pair.y += staged_b_product(segment, first + j + half, rank, 0u, 1u);
        }
      }
      if (segment.bias != NONE && inside) {
        let bias = vec2<f32>(load(segment.bias + first + j), load(segment.bias + first + j + half));
        pair += segment_m(segment, row) * bias;
      }
    }
    if (input.norm != NONE) {
      let scale = inverseSqrt(sum_group(dot(pair, pair), t) / f32(p.head_dim) + p.eps);
      if (inside) {
        pair *= scale * vec2<f32>(load(input.norm + j), load(input.norm + j + half));
      }
    }
    if (inside) {
      if (input.turn != 0u) {
        let at = p.table + 2u * (position * half + j);
        let c = load(at);
        let s = select(load(at + 1u), -load(at + 1u), input.turn == 2u);
        pair = vec2<f32>(pair.x * c - pair.y * s, pair.y * c + pair.x * s);
      }
      store(x + j, pair.x);
      store(x + j + half, pair.y);
      if (input.keep != 0u) {
        keep_pair(place, input.keep == 1u, head, position, j, pair);
      }
    }
  }
}
