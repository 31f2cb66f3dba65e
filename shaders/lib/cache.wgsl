// Keys and values of one layer of a cache: f32, or halves by option. A word of halves holds elements j and j + headDim / 2 of a head,
// which rope.wgsl has at hand together. With `rows` words per head and position (headDim, or half of it):
// keys [kvHeads, rows, length], values [kvHeads, length, rows].
//# include bindings
@group(0) @binding(3) var<storage, read_write> kv: array<u32>;
//# end
override HALVES: bool = false;

/// Where keys, or values, of one layer lie.
struct Place {
  base: u32,
  length: u32, // of the cache
  head_dim: u32, // even
}

/// Values follow keys.
fn values_behind(keys: Place, kv_heads: u32) -> Place {
  let rows = select(keys.head_dim, keys.head_dim / 2u, HALVES);
  return Place(keys.base + kv_heads * rows * keys.length, keys.length, keys.head_dim);
}

/// The nearest half, ties to even; beyond 65504 the largest: bit by bit, since pack2x16float may round either way.
fn half_of(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let size = bits & 0x7fffffffu;
  var half = min(((size + 0xfffu + ((size >> 13u) & 1u)) >> 13u) - 0x1c000u, 0x7bffu);
  if (size < 0x38800000u) {
    half = u32(round(abs(value) * 16777216.0)); // below 2^-14 halves are multiples of 2^-24
  } else if (size > 0x7f800000u) {
    half = 0x7e00u; // NaN
  }
  return half | ((bits >> 16u) & 0x8000u);
}

fn address(place: Place, is_key: bool, head: u32, position: u32, row: u32, rows: u32) -> u32 {
  let of_key = (head * rows + row) * place.length + position;
  return place.base + select((head * place.length + position) * rows + row, of_key, is_key);
}

/// Stores elements j and j + headDim / 2.
fn keep_pair(place: Place, is_key: bool, head: u32, position: u32, j: u32, pair: vec2<f32>) {
  let half = place.head_dim / 2u;
  if (HALVES) {
    let word = half_of(pair.x) | (half_of(pair.y) << 16u);
    kv[address(place, is_key, head, position, j, half)] = word;
  } else {
    let d = place.head_dim;
    kv[address(place, is_key, head, position, j, d)] = bitcast<u32>(pair.x);
    kv[address(place, is_key, head, position, j + half, d)] = bitcast<u32>(pair.y);
  }
}

/// Elements j and j + headDim / 2 of a key.
fn key_pair(place: Place, head: u32, position: u32, j: u32) -> vec2<f32> {
  let half = place.head_dim / 2u;
  if (HALVES) {
    return unpack2x16float(kv[address(place, true, head, position, j, half)]);
  }
  let d = place.head_dim;
  let low = kv[address(place, true, head, position, j, d)];
  let high = kv[address(place, true, head, position, j + half, d)];
  return bitcast<vec2<f32>>(vec2<u32>(low, high));
}

/// Element c of a value.
fn value_at(place: Place, head: u32, position: u32, c: u32) -> f32 {
  let half = place.head_dim / 2u;
  if (HALVES) {
    let word = kv[address(place, false, head, position, c % half, half)];
    return unpack2x16float(word)[c / half];
  }
  return bitcast<f32>(kv[address(place, false, head, position, c, place.head_dim)]);
}
