// Orthonormal bases of a few long columns. Gram-Schmidt, because a Krylov basis grows block by block and columns that depend
// on earlier ones must be noticed and left out. f64, sums in a fixed order, no functions of the host but sqrt.

/** Columns in a basis, and the coefficients that give the input back. */
export interface ThinQr {
  /** Orthonormal; one per independent column of the input. */
  readonly q: readonly Float64Array[];
  /** Column j of the input = Σ_i q[i] · r[i][j]. `r[i]` has one element per column of the input. */
  readonly r: readonly Float64Array[];
}

/**
 * What is left of a column may be this small a part of it before it counts as dependent on the others: well below f32, well
 * above the rounding of f64.
 */
const DEPENDENT = 2 ** -40;

/** QR of a matrix of few columns. The columns are overwritten. */
export function thinQr(columns: readonly Float64Array[]): ThinQr {
  const q: Float64Array[] = [];
  const r: Float64Array[] = [];
  columns.forEach((column, j) => {
    const coefficients = new Float64Array(q.length + 1);
    const isIndependent = extendBasis(q, column, coefficients);
    if (isIndependent) r.push(new Float64Array(columns.length));
    for (let i = 0; i < q.length; i++) r[i]![j] = coefficients[i]!;
  });
  return { q, r };
}

/**
 * Makes a column orthogonal to a basis and adds it, normalised; false if it depends on the basis (or is 0). Two rounds of
 * modified Gram-Schmidt make it orthogonal to the last bits (Giraud, Langou and Rozložník, 2005, "twice is enough").
 * @param coefficients gets what was subtracted of each basis vector, and last the length of the rest
 */
export function extendBasis(
  basis: Float64Array[],
  column: Float64Array,
  coefficients: Float64Array = new Float64Array(basis.length + 1),
): boolean {
  const before = norm(column);
  if (before === 0) return false;
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < basis.length; i++) {
      const vector = basis[i]!;
      const part = dot(vector, column);
      addScaled(column, -part, vector);
      coefficients[i] = coefficients[i]! + part;
    }
  }
  const rest = norm(column);
  if (rest <= DEPENDENT * before) return false;
  coefficients[basis.length] = rest;
  for (let i = 0; i < column.length; i++) column[i] = column[i]! / rest;
  basis.push(column);
  return true;
}

/** Σ x[i] y[i], in order. */
export function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!;
  return sum;
}

function norm(x: Float64Array): number {
  return Math.sqrt(dot(x, x));
}

/** y += factor · x */
export function addScaled(y: Float64Array, factor: number, x: Float64Array): void {
  for (let i = 0; i < y.length; i++) y[i] = y[i]! + factor * x[i]!;
}
