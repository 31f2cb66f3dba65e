// Writes ONNX models of one product, y = x Wᵀ: as `MatMul` in f32, or as `MatMulNBits` (com.microsoft) with 4 or 8 bits, blocks
// of 32 and int8 activations. Field numbers are those of onnx.proto.

const FLOAT = 1;
const UINT8 = 2;
const INT = 2; // AttributeProto.type
const BLOCK = 32;

/**
 * @param {{ type: "f32" | "q8" | "q4", rows: number, cols: number }} weight W [rows, cols], its content does not matter
 * @returns {Uint8Array}
 */
export function encodeProductModel({ type, rows, cols }) {
  const parts = type === "f32" ? plainProduct(rows, cols) : quantizedProduct(type, rows, cols);
  const graph = concat([
    field(1, parts.node),
    text(2, "product"),
    ...parts.initializers.map((tensor) => field(5, tensor)),
    field(11, valueInfo("x", cols)),
    field(12, valueInfo("y", rows)),
  ]);
  const opset = (domain, version) => field(8, concat([text(1, domain), integer(2, version)]));
  return concat([integer(1, 8), opset("", 17), opset("com.microsoft", 1), field(7, graph)]);
}

function plainProduct(rows, cols) {
  const values = new Float32Array(rows * cols);
  for (let i = 0; i < values.length; i++) values[i] = ((i * 37) % 101) / 101 - 0.5;
  return {
    node: node("MatMul", ["x", "w"], "", {}),
    initializers: [tensor("w", [cols, rows], FLOAT, values)],
  };
}

function quantizedProduct(type, rows, cols) {
  const bits = type === "q8" ? 8 : 4;
  const blocks = cols / BLOCK;
  const bytes = new Uint8Array((rows * cols * bits) / 8);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 37) % 251;
  const scales = new Float32Array(rows * blocks).fill(0.01);
  const attributes = { K: cols, N: rows, bits, block_size: BLOCK, accuracy_level: 4 };
  return {
    node: node("MatMulNBits", ["x", "w", "scales"], "com.microsoft", attributes),
    initializers: [
      tensor("w", [rows, blocks, (BLOCK * bits) / 8], UINT8, bytes),
      tensor("scales", [rows * blocks], FLOAT, scales),
    ],
  };
}

function node(operator, inputs, domain, attributes) {
  return concat([
    ...inputs.map((name) => text(1, name)),
    text(2, "y"),
    text(4, operator),
    ...Object.entries(attributes).map(([name, value]) =>
      field(5, concat([text(1, name), integer(3, value), integer(20, INT)])),
    ),
    text(7, domain),
  ]);
}

function tensor(name, dims, type, values) {
  const raw = new Uint8Array(values.buffer);
  return concat([
    ...dims.map((size) => integer(1, size)),
    integer(2, type),
    text(8, name),
    field(9, raw),
  ]);
}

/** f32 [n, size] */
function valueInfo(name, size) {
  const shape = concat([field(1, text(2, "n")), field(1, integer(1, size))]);
  return concat([text(1, name), field(2, field(1, concat([integer(1, FLOAT), field(2, shape)])))]);
}

function integer(number, value) {
  return Uint8Array.from([...varint(number << 3), ...varint(value)]);
}

function text(number, value) {
  return field(number, new TextEncoder().encode(value));
}

function field(number, bytes) {
  return concat([Uint8Array.from([...varint((number << 3) | 2), ...varint(bytes.length)]), bytes]);
}

function varint(value) {
  const bytes = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return [...bytes, value];
}

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
