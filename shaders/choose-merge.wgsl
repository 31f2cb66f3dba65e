// Joins the stretches of choose.wgsl: the best k of each row, and log Σ e^logit (NaN if a logit is NaN or +Infinity, or all are
// -Infinity). partial [n, stretches, 2 k + 3] → ids [rows, k], logits [rows, k], log sums [rows]. Grid: (n).
// Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include best
struct Best { key: u32, id: u32 }
fn bits_of(key: u32) -> u32 { return key; }
fn is_better(a: Best, b: Best) -> bool { return true; }
fn best_of_group(mine: Best, t: u32) -> Best { return mine; }
//# end

struct Params {
  partial_in: u32,
  stretches: u32,
  k: u32,
  out: u32,
  rows: u32, // of the choice
}
@group(0) @binding(4) var<storage, read> p: Params;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let size = 2u * p.k + 3u;
  let base = p.partial_in + group.x * p.stretches * size;
  var last = Best(0xffffffffu, NONE);
  for (var k = 0u; k < p.k; k++) {
    var mine = Best(0u, NONE);
    for (var i = t; i < p.stretches * p.k; i += THREADS) {
      let at = base + (i / p.k) * size + i % p.k;
      let one = Best(memory[at], memory[at + p.k]);
      if (one.id != NONE && is_better(last, one) && is_better(one, mine)) {
        mine = one;
      }
    }
    last = best_of_group(mine, t);
    if (t == 0u) {
      memory[p.out + group.x * p.k + k] = last.id;
      memory[p.out + (p.rows + group.x) * p.k + k] = bits_of(last.key);
    }
  }
  if (t != 0u) {
    return;
  }
  let top = memory[p.out + (p.rows + group.x) * p.k];
  var sum = 0.0;
  var wrong = top == 0xff800000u;
  for (var s = 0u; s < p.stretches; s++) {
    let at = base + s * size + 2u * p.k;
    wrong = wrong || memory[at + 2u] == 1u;
    if (memory[at] != 0xff800000u && !wrong) {
      sum += exp(load(at) - bitcast<f32>(top)) * load(at + 1u);
    }
  }
  let to = p.out + 2u * p.rows * p.k + group.x;
  if (wrong) {
    memory[to] = 0x7fc00000u;
  } else {
    store(to, bitcast<f32>(top) + log(sum));
  }
}
