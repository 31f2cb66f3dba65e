// One adapter's slice of one linear layer's bank.
//# include bindings
@group(0) @binding(5) var<storage, read> lists: array<u32>;
//# end
/// A [rank, in] and B [rows, rank], with its numbers m.
struct Segment {
  first_group: u32, // workgroup where its A begins, in a dispatch that computes A x
  output: u32, // which of the dispatch's outputs it adds to
  rank: u32,
  h: u32, // first column of its h = m (A x) in the region of h
  a: u32, // in vec4 of `bank`
  a_plane: u32,
  b: u32,
  b_plane: u32,
  bias: u32, // of B, in `memory`, or NONE
  m: u32, // in `lists`: one number per row
}

fn segment_m(segment: Segment, row: u32) -> f32 {
  return bitcast<f32>(lists[segment.m + row]);
}
