// Matrices that are read by blocks of rows and computed while they are read, so that an [out, in] product of factors never
// has to exist as a whole. Every element is computed alone and in a fixed order: block sizes cannot change a bit.

/** A matrix of f32 that can be read again and again, by rows. */
export interface RowMatrix {
  readonly rows: number;
  readonly cols: number;
  /** Writes rows `start` to `start + count - 1`, row-major, to the beginning of `block`. */
  read(start: number, count: number, block: Float32Array): void;
}

/** Elements of a block: a few of them stay in the second-level cache. */
const BLOCK_SIZE = 1 << 15;

/** Visits all rows in order. The block is used again for the next visit. */
export function forEachBlock(
  matrix: RowMatrix,
  visit: (block: Float32Array, start: number, count: number) => void,
): void {
  const { rows, cols } = matrix;
  const step = Math.max(1, Math.min(rows, Math.floor(BLOCK_SIZE / cols)));
  const buffer = new Float32Array(step * cols);
  for (let start = 0; start < rows; start += step) {
    const count = Math.min(step, rows - start);
    matrix.read(start, count, buffer);
    visit(buffer.subarray(0, count * cols), start, count);
  }
}

/** Reads all rows. */
export function readRows(matrix: RowMatrix): Float32Array {
  const values = new Float32Array(matrix.rows * matrix.cols);
  matrix.read(0, matrix.rows, values);
  return values;
}

/** Rows of a row-major matrix, widened. */
export function splitRows(values: Float32Array, cols: number): Float64Array[] {
  return Array.from({ length: values.length / cols }, (_, i) =>
    Float64Array.from(values.subarray(i * cols, (i + 1) * cols)),
  );
}

/** Columns of a row-major matrix, widened. */
export function splitColumns(values: Float32Array, cols: number): Float64Array[] {
  const rows = values.length / cols;
  return Array.from({ length: cols }, (_, j) =>
    Float64Array.from({ length: rows }, (_, i) => values[i * cols + j]!),
  );
}

/** `values` [rows, cols] as a row matrix. */
export function storedRows(values: Float32Array, rows: number, cols: number): RowMatrix {
  return {
    rows,
    cols,
    read(start, count, block) {
      block.set(values.subarray(start * cols, (start + count) * cols));
    },
  };
}

/**
 * scale · B A, with A [rank, cols] and B [rows, rank]. Sums run over the rank, ascending, in f64; each element is rounded to
 * f32 once.
 */
export function productRows(
  b: Float32Array,
  a: Float32Array,
  { rows, cols, scale }: { readonly rows: number; readonly cols: number; readonly scale: number },
): RowMatrix {
  const rank = b.length / rows;
  const sums = new Float64Array(cols);
  return {
    rows,
    cols,
    read(start, count, block) {
      for (let row = 0; row < count; row++) {
        sums.fill(0);
        addProducts(sums, b, a, (start + row) * rank, rank);
        const offset = row * cols;
        for (let col = 0; col < cols; col++) block[offset + col] = scale * sums[col]!;
      }
    },
  };
}

/** sums += Σ_k b[at + k] · a[k, :], in order; four at a time, so that a sum stays in a register for four additions. */
function addProducts(
  sums: Float64Array,
  b: Float32Array,
  a: Float32Array,
  at: number,
  rank: number,
): void {
  const cols = sums.length;
  let k = 0;
  for (; k + 4 <= rank; k += 4) {
    const [f0, f1, f2, f3] = [b[at + k]!, b[at + k + 1]!, b[at + k + 2]!, b[at + k + 3]!];
    const [a0, a1, a2, a3] = [k * cols, (k + 1) * cols, (k + 2) * cols, (k + 3) * cols];
    for (let col = 0; col < cols; col++) {
      let sum = sums[col]!;
      sum += f0 * a[a0 + col]!;
      sum += f1 * a[a1 + col]!;
      sum += f2 * a[a2 + col]!;
      sum += f3 * a[a3 + col]!;
      sums[col] = sum;
    }
  }
  for (; k < rank; k++) {
    const factor = b[at + k]!;
    const offset = k * cols;
    for (let col = 0; col < cols; col++) sums[col] = sums[col]! + factor * a[offset + col]!;
  }
}

/** Changes the elements of a matrix while they are read. `change` gets whole rows. */
export function mapRows(
  source: RowMatrix,
  change: (block: Float32Array, start: number, count: number) => void,
): RowMatrix {
  const { rows, cols } = source;
  return {
    rows,
    cols,
    read(start, count, block) {
      source.read(start, count, block);
      change(block.subarray(0, count * cols), start, count);
    },
  };
}

/** Combines matrices of one shape, element by element. `combine` gets the same rows of all and fills `block`. */
export function combineRows(
  sources: readonly RowMatrix[],
  combine: (sources: readonly Float32Array[], block: Float32Array) => void,
): RowMatrix {
  const { rows, cols } = sources[0]!;
  let buffers: Float32Array[] = [];
  return {
    rows,
    cols,
    read(start, count, block) {
      const size = count * cols;
      if ((buffers[0]?.length ?? 0) < size) buffers = sources.map(() => new Float32Array(size));
      const parts = buffers.map((buffer) => buffer.subarray(0, size));
      sources.forEach((source, i) => {
        source.read(start, count, parts[i]!);
      });
      combine(parts, block.subarray(0, size));
    },
  };
}
