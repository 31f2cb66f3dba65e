// Which elements of a matrix are its k largest by magnitude, without holding the matrix: a radix selection over the bits of f32,
// whose order is the order of magnitudes. It needs the whole matrix's statistics, so it reads the matrix two or three times.
import { forEachBlock, type RowMatrix } from "../../math/row-matrix.ts";

/** An exact set of elements: those above a magnitude, and of those equal to it the first in row-major order. */
export interface Largest {
  /** Bits of the smallest magnitude that is in. */
  readonly bits: number;
  /** Elements of exactly this magnitude are in if their row-major index is below. */
  readonly end: number;
}

const MAGNITUDE = 0x7fff_ffff;
const LOW_BITS = 16;

/** The `count` elements of largest magnitude; among equals the first ones. */
export function selectLargest(matrix: RowMatrix, count: number): Largest {
  if (count <= 0) return { bits: MAGNITUDE + 1, end: 0 };
  if (count >= matrix.rows * matrix.cols) return { bits: 0, end: Number.POSITIVE_INFINITY };
  const high = countBits(matrix, (bits) => bits >>> LOW_BITS);
  const { bin: top, above } = findBin(high, count);
  const low = countBits(matrix, (bits) => (bits >>> LOW_BITS === top ? bits & 0xffff : -1));
  const { bin: bottom, above: aboveInBin } = findBin(low, count - above);
  const bits = top * 2 ** LOW_BITS + bottom;
  const wanted = count - above - aboveInBin;
  if (wanted === low[bottom]) return { bits, end: Number.POSITIVE_INFINITY };
  return { bits, end: indexAfter(matrix, bits, wanted) };
}

/** Whether the element with these f32 bits at this row-major index is one of them. */
export function isAmong({ bits, end }: Largest, valueBits: number, index: number): boolean {
  const magnitude = valueBits & MAGNITUDE;
  return magnitude > bits || (magnitude === bits && index < end);
}

/** The bits of f32 values, in place. */
export function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** How many elements have each digit; negative digits are not counted. */
function countBits(matrix: RowMatrix, digit: (bits: number) => number): Uint32Array {
  const counts = new Uint32Array(2 ** LOW_BITS);
  forEachBlock(matrix, (block) => {
    for (const bits of bitsOf(block)) {
      const bin = digit(bits & MAGNITUDE);
      if (bin >= 0) counts[bin] = counts[bin]! + 1;
    }
  });
  return counts;
}

/** The bin that holds the `count`-th largest, and how many elements lie in higher bins. */
function findBin(counts: Uint32Array, count: number): { bin: number; above: number } {
  let above = 0;
  let bin = counts.length - 1;
  while (above + counts[bin]! < count) above += counts[bin--]!;
  return { bin, above };
}

/** Index after the `count`-th element of this magnitude. */
function indexAfter(matrix: RowMatrix, magnitude: number, count: number): number {
  let end = 0;
  let index = 0;
  let left = count;
  forEachBlock(matrix, (block) => {
    for (const bits of bitsOf(block)) {
      index++;
      if (left > 0 && (bits & MAGNITUDE) === magnitude && --left === 0) end = index;
    }
  });
  return end;
}
