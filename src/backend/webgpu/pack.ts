// Packs rows into the planes that layout.ts describes, with the rounding of quantize.ts.
import type { WeightType } from "../backend.ts";
import { BLOCK, quantizeBlockQ4, quantizeBlockQ8 } from "../quantize.ts";
import { planeSize, unitCount, VEC4 } from "./layout.ts";

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
  return packBlocks(type, values, row, n, rows, cols);
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

function packBlocks(
  type: "q8" | "q4",
  values: Float32Array,
  row: number,
  n: number,
  rows: number,
  cols: number,
): Piece[] {
  const blocks = unitCount(type, cols);
  const plane = planeSize(type, rows, cols) * VEC4;
  const low = new Uint32Array(n * blocks * 4);
  const high = type === "q8" ? new Uint32Array(n * blocks * 4) : undefined;
  const perBlock = type === "q8" ? 1 : 2;
  const scales = new Float32Array(n * blocks * perBlock);
  const q = new Int8Array(BLOCK);
  const words = new Uint32Array(q.buffer);
  for (let i = 0; i < n; i++) {
    for (let block = 0; block < blocks; block++) {
      const start = i * cols + block * BLOCK;
      const size = Math.min(BLOCK, cols - block * BLOCK);
      if (size < BLOCK) q.fill(0);
      const at = i * blocks + block;
      if (high !== undefined) {
        scales[at] = quantizeBlockQ8(values, start, size, q, 0);
        for (let w = 0; w < 4; w++) {
          low[at * 4 + w] = words[w]!;
          high[at * 4 + w] = words[4 + w]!;
        }
      } else {
        const { d, m } = quantizeBlockQ4(values, start, size, q, 0);
        scales[at * 2] = d;
        scales[at * 2 + 1] = m;
        for (let w = 0; w < 4; w++) low[at * 4 + w] = words[w]! | (words[4 + w]! << 4);
      }
    }
  }
  const first = row * blocks;
  const piece = (offset: number, { buffer }: { buffer: ArrayBuffer }): Piece => ({
    offset,
    bytes: new Uint8Array(buffer),
  });
  const pieces = [piece(first * VEC4, low)];
  if (high !== undefined) pieces.push(piece(plane + first * VEC4, high));
  pieces.push(piece(plane * (high ? 2 : 1) + first * perBlock * 4, scales));
  return pieces;
}
