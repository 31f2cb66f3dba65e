// Truncated singular value decompositions of weight deltas, in memory that grows with (rows + cols) · rank: of products of
// factors (exact), and of matrices that only exist row by row (a block Krylov method). ml-matrix decomposes the small matrices
// that both come down to; it uses +, -, ·, / and sqrt only, so results are the same on every host.
import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { multiply, multiplyByGram, randomColumns } from "./project.ts";
import { addScaled, dot, extendBasis, thinQr } from "./qr.ts";
import { type RowMatrix, readRows, splitColumns, splitRows } from "./row-matrix.ts";

/** U diag(s) Vᵀ ≈ D [rows, cols]. */
export interface TruncatedSvd {
  /** Left singular vectors, each [rows]. */
  readonly u: readonly Float64Array[];
  /** Singular values, descending. */
  readonly s: readonly number[];
  /** Right singular vectors, each [cols]; the element of largest magnitude is positive, which fixes both signs. */
  readonly v: readonly Float64Array[];
  /** ‖D - U diag(s) Vᵀ‖ / ‖D‖, Frobenius; 0 for D = 0. */
  readonly relativeError: number;
}

/**
 * SVD of D = B A to at most `rank` singular values, without forming D: B = Q_B R_B, Aᵀ = Q_A R_A, and R_B R_Aᵀ (at most
 * Σr × Σr) = U' S V'ᵀ; then U = Q_B U', V = Q_A V'.
 * @param b columns of B, each [rows]; overwritten
 * @param a rows of A, each [cols], as many; overwritten
 */
export function factoredSvd(
  b: readonly Float64Array[],
  a: readonly Float64Array[],
  rank: number,
): TruncatedSvd {
  const [rows, cols] = [b[0]!.length, a[0]!.length];
  const [left, right] = [thinQr(b), thinQr(a)];
  if (left.q.length === 0 || right.q.length === 0) return zeroSvd(rows, cols);
  const core = left.r.map((row) => right.r.map((other) => dot(row, other)));
  const { u, s, v } = decompose(core);
  const kept = Math.min(rank, s.length);
  return {
    ...orient(combine(left.q, u, kept), combine(right.q, v, kept)),
    s: s.slice(0, kept),
    relativeError: relativeTail(s, kept),
  };
}

/** Singular vectors sought beyond the rank: they let the wanted ones converge. */
const OVERSAMPLING = 8;

/** Multiplications by DᵀD. */
const STEPS = 3;

/** Any fixed number: the start of the search must not depend on the host. */
const SEED = 20241013;

/**
 * SVD of a matrix that is read row by row, to at most `rank` singular values. Reads it `STEPS + 1` times.
 *
 * The right singular vectors are sought in the space spanned by Z, (DᵀD) Z, (DᵀD)² Z, (DᵀD)³ Z for a random Z [cols, rank +
 * 8], where D becomes small enough to be decomposed (Musco and Musco, 2015, "Randomized block Krylov methods for stronger and
 * faster approximate singular value decomposition"): the approximation is within a fraction of a percent of the best of its
 * rank, and `relativeError` is what it really is. Matrices with few rows or columns are decomposed exactly.
 */
export function rowsSvd(matrix: RowMatrix, rank: number): TruncatedSvd {
  const { rows, cols } = matrix;
  const width = rank + OVERSAMPLING;
  if (Math.min(rows, cols) <= width * (STEPS + 1)) return exactSvd(matrix, rank);
  const basis: Float64Array[] = [];
  let block = randomColumns(cols, width, SEED);
  for (let step = 0; ; step++) {
    const first = basis.length;
    for (const column of block) extendBasis(basis, column);
    if (step === STEPS || basis.length === first) break;
    block = multiplyByGram(matrix, basis.slice(first));
  }
  const { product, squares } = multiply(matrix, basis);
  if (squares === 0) return zeroSvd(rows, cols);
  const left = thinQr(product);
  const { u, s, v } = decompose(left.r);
  const kept = Math.min(rank, s.length);
  const captured = sumSquares(s, 0, kept);
  return {
    ...orient(combine(left.q, u, kept), combine(basis, v, kept)),
    s: s.slice(0, kept),
    relativeError: Math.sqrt(Math.max(0, squares - captured) / squares),
  };
}

/** D as the product of itself and an identity: the QR shrinks its long side. */
function exactSvd(matrix: RowMatrix, rank: number): TruncatedSvd {
  const { rows, cols } = matrix;
  const values = readRows(matrix);
  const size = Math.min(rows, cols);
  const identity = Array.from({ length: size }, (_, i) => {
    const column = new Float64Array(size);
    column[i] = 1;
    return column;
  });
  if (rows <= cols) return factoredSvd(identity, splitRows(values, cols), rank);
  return factoredSvd(splitColumns(values, cols), identity, rank);
}

interface SmallSvd {
  readonly u: Float64Array[];
  readonly s: number[];
  readonly v: Float64Array[];
}

/** All singular values of a small matrix, given by its rows. */
function decompose(rows: readonly ArrayLike<number>[]): SmallSvd {
  const matrix = new Matrix(rows.map((row) => Array.from(row)));
  const svd = new SingularValueDecomposition(matrix, { autoTranspose: true });
  const s = svd.diagonal.slice(0, Math.min(matrix.rows, matrix.columns));
  const column = (vectors: Matrix, j: number): Float64Array =>
    Float64Array.from(vectors.getColumn(j));
  return {
    u: s.map((_, j) => column(svd.leftSingularVectors, j)),
    s,
    v: s.map((_, j) => column(svd.rightSingularVectors, j)),
  };
}

/** The first `count` of the vectors Σ_i basis[i] · coefficients[j][i]. */
function combine(
  basis: readonly Float64Array[],
  coefficients: readonly Float64Array[],
  count: number,
): Float64Array[] {
  return coefficients.slice(0, count).map((weights) => {
    const vector = new Float64Array(basis[0]!.length);
    basis.forEach((column, i) => {
      addScaled(vector, weights[i]!, column);
    });
    return vector;
  });
}

/** Turns each pair of vectors so that the right one's element of largest magnitude is positive. */
function orient(
  u: readonly Float64Array[],
  v: readonly Float64Array[],
): Pick<TruncatedSvd, "u" | "v"> {
  v.forEach((vector, j) => {
    let largest = 0;
    for (const value of vector) if (Math.abs(value) > Math.abs(largest)) largest = value;
    if (largest >= 0) return;
    for (const side of [vector, u[j]!]) for (let i = 0; i < side.length; i++) side[i] = -side[i]!;
  });
  return { u, v };
}

function zeroSvd(rows: number, cols: number): TruncatedSvd {
  const v = new Float64Array(cols);
  v[0] = 1;
  return { u: [new Float64Array(rows)], s: [0], v: [v], relativeError: 0 };
}

/** ‖s without its first `kept`‖ / ‖s‖ */
function relativeTail(s: readonly number[], kept: number): number {
  const all = sumSquares(s, 0, s.length);
  return all === 0 ? 0 : Math.sqrt(sumSquares(s, kept, s.length) / all);
}

function sumSquares(values: readonly number[], from: number, to: number): number {
  let sum = 0;
  for (let i = from; i < to; i++) sum += values[i]! * values[i]!;
  return sum;
}
