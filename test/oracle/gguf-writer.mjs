// Writes GGUF version 3, as little of it as the oracle and the benchmarks need: tensors of a few types, streamed one by one.
// Shares no code with Tureen, so that a mistake cannot be in both.
import { open } from "node:fs/promises";
import { toFloat16 } from "./half.mjs";
import { RANDOM_BLOCKS } from "./random-blocks.mjs";

const ALIGNMENT = 32;
const BLOCK = 32; // values per quantized block
/** Bytes per block: an f16 scale and 32 values of 8 or 4 bits. */
const BLOCK_BYTES = { F32: 4 * BLOCK, F16: 2 * BLOCK, Q4_0: 2 + BLOCK / 2, Q8_0: 2 + BLOCK };
const GGML_TYPES = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8, ...ids(RANDOM_BLOCKS) };
const ENCODERS = { F32: bytesOf, F16: encodeF16, Q4_0: quantizeQ4_0, Q8_0: quantizeQ8_0 };
const VALUE_TYPES = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 };

/**
 * @typedef {[type: "uint32" | "int32" | "float32" | "string", value: unknown]
 *   | [type: "array", of: "int32" | "float32" | "string", values: readonly unknown[]]} Value
 * @typedef {{ name: string, shape: number[], type: keyof typeof GGML_TYPES, values?: () => Float32Array, data?: () => Buffer }}
 *   GgufTensor shape: row-major; data: in place of values, as it goes into the file
 * @param {string} path
 * @param {Record<string, Value>} metadata
 * @param {readonly GgufTensor[]} tensors quantized ones need a multiple of 32 columns
 */
export async function writeGguf(path, metadata, tensors) {
  const file = await open(path, "w");
  try {
    await file.appendFile(encodeHeader(metadata, tensors));
    for (const { type, values, data } of tensors) {
      await file.appendFile(padded(data?.() ?? ENCODERS[type](values())));
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
  const blocks = countBlocks(x);
  const out = Buffer.alloc(blocks * BLOCK_BYTES.Q8_0);
  for (let block = 0; block < blocks; block++) {
    const start = block * BLOCK;
    let amax = 0;
    for (let i = 0; i < BLOCK; i++) amax = Math.max(amax, Math.abs(x[start + i]));
    const d = Math.fround(amax / 127);
    const inverse = d > 0 ? Math.fround(1 / d) : 0;
    const at = block * BLOCK_BYTES.Q8_0;
    out.writeUInt16LE(toFloat16(d), at);
    for (let i = 0; i < BLOCK; i++) {
      const scaled = Math.fround(x[start + i] * inverse);
      out.writeInt8(Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5), at + 2 + i);
    }
  }
  return out;
}

/**
 * Blocks of 32 as ggml's `quantize_row_q4_0_ref` rounds them: d = x / -8 for the x of largest magnitude,
 * q = min(15, ⌊x · (1/d) + 8.5⌋); values j and j + 16 share a byte.
 * @param {Float32Array} x
 */
export function quantizeQ4_0(x) {
  const blocks = countBlocks(x);
  const out = Buffer.alloc(blocks * BLOCK_BYTES.Q4_0);
  for (let block = 0; block < blocks; block++) {
    const start = block * BLOCK;
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) {
      if (Math.abs(x[start + i]) > Math.abs(largest)) largest = x[start + i];
    }
    const d = Math.fround(largest / -8);
    const inverse = d !== 0 ? Math.fround(1 / d) : 0;
    const nibble = (i) => Math.min(15, Math.floor(Math.fround(Math.fround(x[i] * inverse) + 8.5)));
    const at = block * BLOCK_BYTES.Q4_0;
    out.writeUInt16LE(toFloat16(d), at);
    for (let i = 0; i < BLOCK / 2; i++) {
      out[at + 2 + i] = nibble(start + i) | (nibble(start + i + BLOCK / 2) << 4);
    }
  }
  return out;
}

function encodeF16(x) {
  const out = new Uint16Array(x.length);
  for (let i = 0; i < x.length; i++) out[i] = toFloat16(x[i]);
  return bytesOf(out);
}

function countBlocks(x) {
  const blocks = x.length / BLOCK;
  if (!Number.isInteger(blocks)) throw new RangeError(`${x.length} values are no blocks`);
  return blocks;
}

function tensorBytes(shape, type) {
  const count = shape.reduce((a, b) => a * b, 1);
  const random = RANDOM_BLOCKS[type];
  if (random !== undefined) return (count / random.values) * random.bytes;
  return (count / BLOCK) * BLOCK_BYTES[type];
}

function ids(types) {
  return Object.fromEntries(Object.entries(types).map(([name, { id }]) => [name, id]));
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
