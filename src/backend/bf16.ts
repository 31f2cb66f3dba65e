// bf16, the upper half of an f32, in which q4 keeps its scales and minimums: the range of f32 and nothing to convert.

const value = new Float32Array(1);
const bits = new Uint32Array(value.buffer);

/** The largest bf16 that is not above x, an f32. */
export function floorToBf16(x: number): number {
  value[0] = x;
  const rest = bits[0]! & 0xffff;
  bits[0] = bits[0]! - rest; // towards zero
  if (rest > 0 && x < 0) bits[0] += 0x10000;
  return value[0]!;
}

/** The smallest bf16 that is not below x, an f32. */
export function ceilToBf16(x: number): number {
  return -floorToBf16(-x);
}
