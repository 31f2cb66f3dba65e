// Writes GGUF version 3, as little of it as the oracle needs: F32 and Q8_0 tensors, streamed one by one. Shares no code with
// Tureen, so that a mistake cannot be in both.
import { open } from "node:fs/promises";

const ALIGNMENT = 32;
const BLOCK = 32; // values per Q8_0 block
const BLOCK_BYTES = 2 + BLOCK; // f16 scale, int8 values
const GGML_TYPES = { F32: 0, Q8_0: 8 };
const VALUE_TYPES = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 };

/**
 * @typedef {[type: "uint32" | "int32" | "float32" | "string", value: unknown]
 *   | [type: "array", of: "int32" | "float32" | "string", values: readonly unknown[]]} Value
 * @typedef {{ name: string, shape: number[], type: "F32" | "Q8_0", values: () => Float32Array }} GgufTensor shape: row-major
 * @param {string} path
 * @param {Record<string, Value>} metadata
 * @param {readonly GgufTensor[]} tensors Q8_0 needs a multiple of 32 columns
 */
export async function writeGguf(path, metadata, tensors) {
  const file = await open(path, "w");
  try {
    await file.appendFile(encodeHeader(metadata, tensors));
    for (const { type, values } of tensors) {
      const data = type === "Q8_0" ? quantizeQ8_0(values()) : bytesOf(values());
      await file.appendFile(padded(data));
    }
  } finally {
    await file.close();
  }
}

function encodeHeader(metadata, tensors) {
  const parts = [Buffer.from("GGUF"), uint32(3), uint64(tensors.length)];
  parts.push(uint64(Object.keys(metadata).length));
  for (const [key, value] of Object.entries(metadata)) {
    parts.push(string(key), uint32(VALUE_TYPES[value[0]]), ...encodeValue(value));
  }
  let offset = 0;
  for (const { name, shape, type } of tensors) {
    const dimensions = [...shape].reverse(); // ggml names the fastest one first
    parts.push(string(name), uint32(shape.length), ...dimensions.map(uint64));
    parts.push(uint32(GGML_TYPES[type]), uint64(offset));
    offset += roundUp(tensorBytes(shape, type));
  }
  return padded(Buffer.concat(parts));
}

function encodeValue([type, ...rest]) {
  if (type !== "array") return [encodeScalar(type, rest[0])];
  const [of, values] = rest;
  const head = [uint32(VALUE_TYPES[of]), uint64(values.length)];
  return [...head, Buffer.concat(values.map((value) => encodeScalar(of, value)))];
}

function encodeScalar(type, value) {
  if (type === "string") return string(value);
  if (type === "uint32") return uint32(value);
  return Buffer.from(
    type === "float32" ? new Float32Array([value]).buffer : new Int32Array([value]).buffer,
  );
}

/**
 * Blocks of 32 as ggml's `quantize_row_q8_0_ref` rounds them: d = max|x| / 127, q = round(x · (1/d)), halves away from 0,
 * in f32; d is stored as f16 after q was found.
 * @param {Float32Array} x
 */
export function quantizeQ8_0(x) {
  const blocks = x.length / BLOCK;
  if (!Number.isInteger(blocks)) throw new RangeError(`${x.length} values are no Q8_0 blocks`);
  const out = Buffer.alloc(blocks * BLOCK_BYTES);
  for (let block = 0; block < blocks; block++) {
    const start = block * BLOCK;
    let amax = 0;
    for (let i = 0; i < BLOCK; i++) amax = Math.max(amax, Math.abs(x[start + i]));
    const d = Math.fround(amax / 127);
    const inverse = d > 0 ? Math.fround(1 / d) : 0;
    const at = block * BLOCK_BYTES;
    out.writeUInt16LE(toFloat16(d), at);
    for (let i = 0; i < BLOCK; i++) {
      const scaled = Math.fround(x[start + i] * inverse);
      out.writeInt8(Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5), at + 2 + i);
    }
  }
  return out;
}

/** f16 bits of 0 or of a positive normal half, rounded to nearest even. */
function toFloat16(x) {
  if (x === 0) return 0;
  const bits = new Uint32Array(new Float32Array([x]).buffer)[0];
  const half = ((bits + 0xfff + ((bits >>> 13) & 1)) >>> 13) - (112 << 10);
  if (half < 1 << 10 || half >= 31 << 10) throw new RangeError(`${x} is no normal half`);
  return half;
}

function tensorBytes(shape, type) {
  const count = shape.reduce((a, b) => a * b, 1);
  return type === "Q8_0" ? (count / BLOCK) * BLOCK_BYTES : count * 4;
}

function padded(data) {
  return Buffer.concat([data], roundUp(data.byteLength));
}

function roundUp(bytes) {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function bytesOf(values) {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}

function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function uint32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
