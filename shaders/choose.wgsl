// The best k of each stretch of 16 THREADS logits, and what log Σ e^logit needs of it; choose-merge.wgsl joins the stretches.
// logits [n, cols] → partial [n, stretches, 2 k + 3]: k keys, k ids, max, Σ e^(x - max), 1 if a logit is NaN or +Infinity.
// Grid: (stretches, n). Bindings: lib/bindings.wgsl; 4: Params.
//# include bindings
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
override THREADS: u32 = 64u;
const NONE: u32 = 0xffffffffu;
fn load(i: u32) -> f32 { return 0.0; }
fn store(i: u32, value: f32) {}
//# include reduce
fn sum_group(value: f32, t: u32) -> f32 { return value; }
//# include best
struct Best { key: u32, id: u32 }
fn key_of(bits: u32) -> u32 { return bits; }
fn bits_of(key: u32) -> u32 { return key; }
fn is_better(a: Best, b: Best) -> bool { return true; }
fn best_of_group(mine: Best, t: u32) -> Best { return mine; }
//# end

struct Params {
  logits: u32,
  cols: u32,
  k: u32,
  partial_out: u32,
}
@group(0) @binding(4) var<storage, read> p: Params;

const EACH: u32 = 16u; // logits per thread
const INFINITY: u32 = 0x7f800000u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = p.logits + group.y * p.cols;
  var keys: array<u32, EACH>;
  var bad = 0.0;
  for (var i = 0u; i < EACH; i++) {
    let id = (group.x * EACH + i) * THREADS + t;
    keys[i] = 0u; // below -Infinity
    if (id < p.cols) {
      let bits = memory[row + id];
      keys[i] = key_of(bits);
      if ((bits & 0x7fffffffu) > INFINITY || bits == INFINITY) {
        bad = 1.0;
      }
    }
  }
  let to = p.partial_out + (group.y * groups.x + group.x) * (2u * p.k + 3u);
  var last = Best(0xffffffffu, NONE);
  var top = 0u;
  for (var k = 0u; k < p.k; k++) {
    var mine = Best(0u, NONE);
    for (var i = 0u; i < EACH; i++) {
      let one = Best(keys[i], (group.x * EACH + i) * THREADS + t);
      if (one.key != 0u && is_better(last, one) && is_better(one, mine)) {
        mine = one;
      }
    }
    last = best_of_group(mine, t);
    if (k == 0u) {
      top = bits_of(last.key);
    }
    if (t == 0u) {
      memory[to + k] = last.key;
      memory[to + p.k + k] = last.id;
    }
  }
  let lowest = top == 0xff800000u; // all are -Infinity
  var sum = 0.0;
  for (var i = 0u; i < EACH; i++) {
    let bits = bits_of(keys[i]);
    if (keys[i] != 0u && bits != 0xff800000u && !lowest) {
      sum += exp(bitcast<f32>(bits) - bitcast<f32>(top));
    }
  }
  let total = sum_group(sum, t);
  let wrong = sum_group(bad, t);
  if (t == 0u) {
    memory[to + 2u * p.k] = top;
    store(to + 2u * p.k + 1u, total);
    memory[to + 2u * p.k + 2u] = u32(wrong > 0.0);
  }
}
