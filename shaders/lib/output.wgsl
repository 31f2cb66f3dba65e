/// One product of a linear layer: out = [out +] W x [+ bias].
struct Output {
  first_group: u32,
  rows: u32, // of this part of the matrix
  row0: u32, // its first row
  matrix: u32, // in vec4 of `weights`
  plane: u32,
  out: u32, // in elements of `memory`
  stride: u32, // of `out`, in elements
  bias: u32, // or NONE
  accumulate: u32, // 0 or 1
}
