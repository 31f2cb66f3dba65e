// The best of some scored ids: the higher score first, among equals the lower id. Scores are compared as integers of the same order,
// so that infinities and NaN need no rules of their own.
//# include bindings
override THREADS: u32 = 64u;
//# end
struct Best {
  key: u32,
  id: u32,
}

override SHARED: u32 = THREADS + 8u;
var<workgroup> best_keys: array<u32, SHARED>;
var<workgroup> best_ids: array<u32, SHARED>;

/// Of the same order as the score; -0 as 0.
fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) {
    return 0x80000000u;
  }
  return select(bits ^ 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

fn bits_of(key: u32) -> u32 {
  return select(~key, key ^ 0x80000000u, (key >> 31u) == 1u);
}

fn is_better(a: Best, b: Best) -> bool {
  return a.key > b.key || (a.key == b.key && a.id < b.id);
}

/// The best that any thread has, to all of them.
fn best_of_group(mine: Best, t: u32) -> Best {
  workgroupBarrier();
  best_keys[t] = mine.key;
  best_ids[t] = mine.id;
  workgroupBarrier();
  let each = THREADS / 8u;
  if (t < 8u) {
    var best = Best(best_keys[each * t], best_ids[each * t]);
    for (var i = 1u; i < each; i++) {
      let other = Best(best_keys[each * t + i], best_ids[each * t + i]);
      if (is_better(other, best)) {
        best = other;
      }
    }
    best_keys[THREADS + t] = best.key;
    best_ids[THREADS + t] = best.id;
  }
  workgroupBarrier();
  var best = Best(best_keys[THREADS], best_ids[THREADS]);
  for (var i = 1u; i < 8u; i++) {
    let other = Best(best_keys[THREADS + i], best_ids[THREADS + i]);
    if (is_better(other, best)) {
      best = other;
    }
  }
  return best;
}
