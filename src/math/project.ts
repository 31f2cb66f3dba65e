// Products of a matrix that is read row by row with a few long columns, in one pass. The time of truncated SVDs goes here: four
// rows share each element that is loaded of the columns.
import { Random } from "./random.ts";
import { forEachBlock, type RowMatrix } from "./row-matrix.ts";

const GROUP = 4;

/** DᵀD Z, for columns Z, each [cols]. */
export function multiplyByGram(
  matrix: RowMatrix,
  columns: readonly Float64Array[],
): Float64Array[] {
  const { cols } = matrix;
  const width = columns.length;
  const z = interleave(columns, cols); // [cols, width]
  const sums = new Float64Array(cols * width); // [cols, width]
  const y = new Float64Array(GROUP * width); // [4, width]
  const d = new Float64Array(GROUP * cols); // [4, cols]
  forEachGroup(matrix, d, () => {
    projectGroup(d, z, width, y);
    for (let col = 0; col < cols; col++) {
      const d0 = d[col]!;
      const d1 = d[cols + col]!;
      const d2 = d[2 * cols + col]!;
      const d3 = d[3 * cols + col]!;
      const offset = col * width;
      for (let p = 0; p < width; p++) {
        sums[offset + p] =
          sums[offset + p]! +
          (d0 * y[p]! + d1 * y[width + p]! + d2 * y[2 * width + p]! + d3 * y[3 * width + p]!);
      }
    }
  });
  return columns.map((_, p) => Float64Array.from({ length: cols }, (_, i) => sums[i * width + p]!));
}

/** D Z, each column [rows], and the sum of squares of D's elements. */
export function multiply(
  matrix: RowMatrix,
  columns: readonly Float64Array[],
): { readonly product: Float64Array[]; readonly squares: number } {
  const { rows, cols } = matrix;
  const width = columns.length;
  const z = interleave(columns, cols);
  const product = columns.map(() => new Float64Array(rows));
  const y = new Float64Array(GROUP * width);
  const d = new Float64Array(GROUP * cols);
  let squares = 0;
  forEachGroup(matrix, d, (start, count) => {
    projectGroup(d, z, width, y);
    for (let i = 0; i < count; i++) {
      for (let p = 0; p < width; p++) product[p]![start + i] = y[i * width + p]!;
    }
    for (let i = 0; i < d.length; i++) squares += d[i]! * d[i]!;
  });
  return { product, squares };
}

/** Columns of numbers in (-1, 1), the same on every host. */
export function randomColumns(length: number, count: number, seed: number): Float64Array[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () =>
    Float64Array.from({ length }, () => 2 * random.nextFloat() - 1),
  );
}

/** y [4, width] = d [4, cols] · z [cols, width] */
function projectGroup(d: Float64Array, z: Float64Array, width: number, y: Float64Array): void {
  const cols = d.length / GROUP;
  y.fill(0);
  for (let col = 0; col < cols; col++) {
    const d0 = d[col]!;
    const d1 = d[cols + col]!;
    const d2 = d[2 * cols + col]!;
    const d3 = d[3 * cols + col]!;
    const offset = col * width;
    for (let p = 0; p < width; p++) {
      const value = z[offset + p]!;
      y[p] = y[p]! + d0 * value;
      y[width + p] = y[width + p]! + d1 * value;
      y[2 * width + p] = y[2 * width + p]! + d2 * value;
      y[3 * width + p] = y[3 * width + p]! + d3 * value;
    }
  }
}

/** Fills `d` [4, cols] with four rows at a time, with zeros beyond the last. */
function forEachGroup(
  matrix: RowMatrix,
  d: Float64Array,
  visit: (start: number, count: number) => void,
): void {
  const { cols } = matrix;
  forEachBlock(matrix, (block, start, rows) => {
    for (let row = 0; row < rows; row += GROUP) {
      const count = Math.min(GROUP, rows - row);
      d.fill(0);
      d.set(block.subarray(row * cols, (row + count) * cols));
      visit(start + row, count);
    }
  });
}

function interleave(columns: readonly Float64Array[], length: number): Float64Array {
  const width = columns.length;
  const all = new Float64Array(length * width);
  columns.forEach((column, p) => {
    for (let i = 0; i < length; i++) all[i * width + p] = column[i]!;
  });
  return all;
}
