// Half precision, as scales of quantized blocks have it.

const float = new Float32Array(1);
const floatBits = new Uint32Array(float.buffer);

/** f16 bits of an f32, rounded to nearest even. */
export function toFloat16(x) {
  float[0] = Math.abs(x);
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  if (float[0] < 2 ** -14) {
    float[0] += 0.5; // whose last bit is the smallest half
    return sign | (floatBits[0] - 0x3f000000);
  }
  const bits = floatBits[0];
  const half = ((bits + 0xfff + ((bits >>> 13) & 1)) >>> 13) - (112 << 10);
  if (!(half < 31 << 10)) throw new RangeError(`${x} is no finite half`);
  return sign | half;
}
