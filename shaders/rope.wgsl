// What follows the products q, k and v: the rest of their bank (B h), rotary embedding, and storing k and v in the cache.
// Up to three inputs x [n, heads × headDim], in place; element j < headDim / 2 pairs with j + headDim / 2 (arXiv 2104.09864):
// (a, b) → (a cos - b sin, b cos + a sin). Cache: keys [kvHeads, headDim, length], values [kvHeads, length, headDim].
// Grid: (heads of all inputs, n). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
//# include dot4
//# include x
//# include bank
//# include bank-add

struct Input {
  first_head: u32, // workgroup where its heads begin
  x: u32,
  cols: u32,
  turn: u32, // 0: none, 1: forward, 2: backward
  cache: u32, // where in `kv` it is stored, or NONE
  transposed: u32, // 1: as keys
}

struct Params {
  inputs: u32,
  segments: u32, // `output` of each is the input it adds to
  head_dim: u32,
  position: u32, // of the first row
  table: u32, // cos and sin [length, headDim / 2, 2]
  length: u32, // of the cache
  h: u32,
  h_parts: u32,
  h_stride: u32,
  input: array<Input, 3>,
  segment: array<Segment>,
}
@group(0) @binding(4) var<storage, read> p: Params;

const THREADS: u32 = 64u;

fn keep(input: Input, head: u32, position: u32, j: u32, value: f32) {
  if (input.cache == NONE) {
    return;
  }
  if (input.transposed == 1u) {
    kv[input.cache + (head * p.head_dim + j) * p.length + position] = value;
  } else {
    kv[input.cache + (head * p.length + position) * p.head_dim + j] = value;
  }
}

@compute @workgroup_size(64)
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
  let position = p.position + group.y;
  let half = (p.head_dim + 1u) / 2u;
  let first = head * p.head_dim; // column
  let x = input.x + group.y * input.cols + first;

  for (var j0 = 0u; j0 < half; j0 += THREADS) {
    let j = j0 + t;
    let low = j < half;
    let high = low && j + half < p.head_dim;
    var a = 0.0;
    var b = 0.0;
    if (low) {
      a = load(x + j);
    }
    if (high) {
      b = load(x + j + half);
    }
    for (var s = 0u; s < p.segments; s++) {
      let segment = p.segment[s];
      if (segment.output != i) {
        continue;
      }
      for (var rank = 0u; rank < segment.rank; rank += H_COLS) {
        stage_h(HRegion(p.h, p.h_parts, p.h_stride), segment, rank, t, THREADS);
        if (low) {
          a += staged_b_product(segment, first + j, rank, 0u, 1u);
        }
        if (high) {
          b += staged_b_product(segment, first + j + half, rank, 0u, 1u);
        }
      }
      if (segment.bias != NONE && high) {
        let m = segment_m(segment, group.y);
        a += m * load(segment.bias + first + j);
        b += m * load(segment.bias + first + j + half);
      }
    }
    if (input.turn != 0u && high) {
      let at = p.table + 2u * (position * half + j);
      let c = load(at);
      let s = select(load(at + 1u), -load(at + 1u), input.turn == 2u);
      let turned = a * c - b * s;
      b = b * c + a * s;
      a = turned;
    }
    if (low) {
      store(x + j, a);
      keep(input, head, position, j, a);
    }
    if (high) {
      store(x + j + half, b);
      keep(input, head, position, j + half, b);
    }
  }
}
