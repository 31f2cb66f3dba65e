// Packs rows into the planes that layout.ts describes, with the rounding of quantize.ts.
import type { WeightType } from "../backend.ts";
import { type QuantizedRows, quantizeRows } from "../quantize.ts";
import { unitCount, VEC4 } from "./layout.ts";

/** Bytes for one place of a packed matrix. */
export interface Piece {
  /** Bytes from the matrix's beginning. */
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Rows row.. of a matrix [rows, cols] of 16-bit floats.
 * @param halves [n, cols] as in the file
 */
export function packHalves(halves: Uint8Array, row: number, n: number, cols: number): Piece {
  const rowBytes = unitCount("f16", cols) * 8;
  const bytes = new Uint8Array(n * rowBytes);
  for (let i = 0; i < n; i++) {
    bytes.set(halves.subarray(i * cols * 2, (i + 1) * cols * 2), i * rowBytes);
  }
  return { offset: row * rowBytes, bytes };
}

/**
 * Rows row.. of a matrix [rows, cols].
 * @param values [n, cols]
 */
export function packRows(
  type: WeightType,
  values: Float32Array,
  row: number,
  n: number,
  rows: number,
  cols: number,
): Piece[] {
  if (type === "f32") return packF32(values, row, n, cols);
  return packQuantized(quantizeRows(values, n, cols, type), row, rows);
}

function packF32(values: Float32Array, row: number, n: number, cols: number): Piece[] {
  const units = unitCount("f32", cols);
  const out = new Float32Array(n * units * 4);
  if (units * 4 === cols) out.set(values.subarray(0, n * cols));
  else {
    for (let i = 0; i < n; i++) out.set(values.subarray(i * cols, (i + 1) * cols), i * units * 4);
  }
  return [{ offset: row * units * VEC4, bytes: new Uint8Array(out.buffer) }];
}

/** Rows row.. of a matrix of so many rows, q4 if they have minima, else q8. */
export function packQuantized(part: QuantizedRows, row: number, rows: number): Piece[] {
  const { blocks, m } = part;
  const n = part.rows * blocks;
  const words = wordsOf(part.q);
  const d = wordsOf(part.d);
  const low = new Uint32Array(n * 4);
  const high = new Uint32Array(n * 4);
  for (let i = 0; i < n * 4; i++) {
    const at = 2 * i - (i % 4); // word i % 4 of block i / 4, of 8 words
    low[i] = words[at]!;
    high[i] = words[at + 4]!;
  }
  const plane = rows * blocks * VEC4;
  const first = row * blocks;
  const piece = (offset: number, { buffer }: { buffer: ArrayBuffer }): Piece => ({
    offset,
    bytes: new Uint8Array(buffer),
  });
  if (m === undefined) {
    return [
      piece(first * VEC4, low),
      piece(plane + first * VEC4, high),
      piece(2 * plane + first * 4, d.slice()),
    ];
  }
  const minima = wordsOf(m);
  return [
    piece(
      first * VEC4,
      low.map((word, i) => word | (high[i]! << 4)),
    ),
    piece(
      plane + first * 4,
      d.map((scale, i) => (scale >>> 16) | (minima[i]! & 0xffff0000)),
    ),
  ];
}

function wordsOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}
