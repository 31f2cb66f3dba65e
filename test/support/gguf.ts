// Writes GGUF files for tests, after the specification alone (docs/gguf.md of ggml): any version, and whatever is wrong that a test
// wants wrong. Shares no code with the reader.

export type GgufValue =
  | readonly ["u32" | "i32" | "f32" | "u64" | "bool" | "string", number | boolean | string]
  | readonly ["array", "i32" | "f32" | "u32" | "string", readonly (number | string)[]];

export interface GgufTensorSpec {
  readonly name: string;
  /** ggml's number. */
  readonly type: number;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  /** Instead of where it lies. */
  readonly offset?: number;
}

export interface GgufSpec {
  readonly version?: number;
  readonly alignment?: number;
  readonly metadata?: Readonly<Record<string, GgufValue>>;
  readonly tensors?: readonly GgufTensorSpec[];
}

const VALUE_TYPES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10 } as const;

export function makeGguf({
  version = 3,
  alignment = 32,
  metadata = {},
  tensors = [],
}: GgufSpec): Uint8Array {
  const bytes: number[] = [];
  const put = (size: number, write: (view: DataView) => void): void => {
    const view = new DataView(new ArrayBuffer(size));
    write(view);
    bytes.push(...new Uint8Array(view.buffer));
  };
  const u32 = (n: number): void => put(4, (view) => view.setUint32(0, n, true));
  const u64 = (n: number): void => put(8, (view) => view.setBigUint64(0, BigInt(n), true));
  const count = version === 1 ? u32 : u64;
  const text = (value: string): void => {
    const utf8 = new TextEncoder().encode(value);
    count(utf8.length);
    for (const byte of utf8) bytes.push(byte);
  };
  const scalar = (type: string, value: number | boolean | string): void => {
    if (type === "string") text(String(value));
    else if (type === "bool") bytes.push(value ? 1 : 0);
    else if (type === "f32") put(4, (view) => view.setFloat32(0, Number(value), true));
    else if (type === "i32") put(4, (view) => view.setInt32(0, Number(value), true));
    else if (type === "u64") u64(Number(value));
    else u32(Number(value));
  };
  bytes.push(...new TextEncoder().encode("GGUF"));
  u32(version);
  count(tensors.length);
  count(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    text(key);
    u32(VALUE_TYPES[value[0]]);
    if (value[0] === "array") {
      u32(VALUE_TYPES[value[1]]);
      count(value[2].length);
      for (const item of value[2]) scalar(value[1], item);
    } else scalar(value[0], value[1]);
  }
  let offset = 0;
  const round = (n: number): number => Math.ceil(n / alignment) * alignment;
  for (const tensor of tensors) {
    text(tensor.name);
    u32(tensor.shape.length);
    for (const size of tensor.shape.toReversed()) count(size);
    u32(tensor.type);
    u64(tensor.offset ?? offset);
    offset = round(offset + tensor.data.length);
  }
  const start = round(bytes.length);
  const file = new Uint8Array(start + offset);
  file.set(bytes);
  let at = start;
  for (const { data } of tensors) {
    file.set(data, at);
    at = round(at + data.length);
  }
  return file;
}

export function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.slice().buffer);
}
