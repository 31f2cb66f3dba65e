// Decompositions: what defines them, how near to the best they are, and what they must not do.
import { Matrix, SingularValueDecomposition } from "ml-matrix";
import { describe, expect, test } from "vitest";
import { dot, thinQr } from "../../src/math/qr.ts";
import {
  mapRows,
  productRows,
  type RowMatrix,
  readRows,
  splitColumns,
  splitRows,
  storedRows,
} from "../../src/math/row-matrix.ts";
import { factoredSvd, rowsSvd, type TruncatedSvd } from "../../src/math/svd.ts";
import { pruneSmallest } from "../../src/soup/methods/elementwise.ts";
import { selectLargest } from "../../src/soup/methods/largest.ts";
import { expectClose, maxAbs, random, randomValues } from "../support/values.ts";

/** Rounding of f64, with room for sums of a few hundred terms. */
const BOUND = 1e-12;

function expectOrthonormal(vectors: readonly Float64Array[]): void {
  vectors.forEach((x, i) => {
    vectors.forEach((y, j) => {
      expect(Math.abs(dot(x, y) - (i === j ? 1 : 0))).toBeLessThan(BOUND);
    });
  });
}

function rebuild({ u, s, v }: TruncatedSvd): Float64Array {
  const [rows, cols] = [u[0]!.length, v[0]!.length];
  const values = new Float64Array(rows * cols);
  s.forEach((sigma, k) => {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) values[i * cols + j]! += sigma * u[k]![i]! * v[k]![j]!;
    }
  });
  return values;
}

function singularValues(matrix: RowMatrix): number[] {
  const rows = splitRows(readRows(matrix), matrix.cols).map((row) => [...row]);
  return new SingularValueDecomposition(new Matrix(rows), { autoTranspose: true }).diagonal;
}

describe("thinQr", () => {
  test("gives orthonormal columns that give the input back, without dependent ones", () => {
    const [x, y, z] = [1, 2, 3].map((seed) => Float64Array.from(randomValues(30, seed)));
    const sum = x!.map((value, i) => 2 * value - y![i]!);
    const columns = [x!, y!, sum, new Float64Array(30), z!];
    const { q, r } = thinQr(columns.map((column) => column.slice()));
    expect(q.length).toBe(3);
    expectOrthonormal(q);
    columns.forEach((column, j) => {
      const back = column.map((_, row) =>
        q.reduce((total, vector, i) => total + vector[row]! * r[i]![j]!, 0),
      );
      expectClose(back, column, 2 ** -38);
    });
  });

  test("stays orthonormal for nearly dependent columns", () => {
    const x = Float64Array.from(randomValues(200, 1));
    const columns = [1e-3, 1e-6, 1e-9].map((size, i) =>
      x.map((value, row) => value + size * randomValues(200, i + 2)[row]!),
    );
    const { q } = thinQr([x.slice(), ...columns]);
    expect(q.length).toBe(4);
    expectOrthonormal(q);
  });
});

describe("factoredSvd", () => {
  test.each([
    [20, 30, 5],
    [30, 20, 5],
    [4, 30, 6],
    [30, 4, 6],
    [1, 1, 1],
    [3, 1, 2],
  ])(
    "%i × %i of %i factors: all of the product, ordered, orthonormal, oriented",
    (rows, cols, rank) => {
      const b = randomValues(rows * rank, 1);
      const a = randomValues(rank * cols, 2);
      const product = productRows(b, a, { rows, cols, scale: 1 });
      const svd = factoredSvd(splitColumns(b, rank), splitRows(a, cols), 100);
      expect(svd.s.length).toBe(Math.min(rows, cols, rank));
      expect(svd.relativeError).toBe(0);
      expectOrthonormal(svd.u);
      expectOrthonormal(svd.v);
      const exact = readRows(product);
      expectClose(rebuild(svd), exact, 2 ** -23 * maxAbs(exact));
      expectClose(svd.s, singularValues(product).slice(0, svd.s.length), 1e-6 * svd.s[0]!);
      for (const vector of svd.v) {
        const largest = vector.reduce((x, y) => (Math.abs(y) > Math.abs(x) ? y : x), 0);
        expect(largest).toBeGreaterThan(0);
      }
    },
  );

  test("cuts to a rank and says what is lost", () => {
    const [b, a] = [randomValues(40 * 6, 1), randomValues(6 * 30, 2)];
    const all = factoredSvd(splitColumns(b, 6), splitRows(a, 30), 6);
    const cut = factoredSvd(splitColumns(b, 6), splitRows(a, 30), 2);
    expect(cut.s).toEqual(all.s.slice(0, 2));
    expect(cut.relativeError).toBeCloseTo(Math.hypot(...all.s.slice(2)) / Math.hypot(...all.s), 12);
  });

  test("a zero product has rank 1", () => {
    const zeros = [new Float64Array(3)];
    const svd = factoredSvd(zeros, [new Float64Array(2).fill(1)], 4);
    expect(svd).toMatchObject({ s: [0], relativeError: 0 });
  });

  test("needs memory for the factors only: 60000 × 60000", () => {
    const columns = (seed: number): Float64Array[] =>
      [0, 1, 2].map((i) => Float64Array.from(randomValues(60000, seed + i)));
    const svd = factoredSvd(columns(1), columns(4), 2);
    expect(svd.s.length).toBe(2);
    expect(svd.relativeError).toBeGreaterThan(0.1);
  });
});

/** A product of which half the elements are dropped: a few large singular values over a long tail. */
function pruned(rows: number, cols: number, seed: number): RowMatrix {
  const product = productRows(randomValues(rows * 6, seed), randomValues(6 * cols, seed + 1), {
    rows,
    cols,
    scale: 1,
  });
  const next = random(seed);
  const values = readRows(product).map((value) => (next() < 0.5 ? value : 0));
  return storedRows(values, rows, cols);
}

describe("rowsSvd", () => {
  test.each([
    [150, 180, 4],
    [180, 150, 4],
    [200, 200, 16],
  ])("%i × %i to rank %i: error within 0.2 % of the best", (rows, cols, rank) => {
    const matrix = pruned(rows, cols, 5);
    const s = singularValues(matrix);
    const best = Math.hypot(...s.slice(rank)) / Math.hypot(...s);
    const svd = rowsSvd(matrix, rank);
    expect(svd.s.length).toBe(rank);
    expectOrthonormal(svd.u);
    expectOrthonormal(svd.v);
    expect(svd.relativeError).toBeGreaterThanOrEqual(best * (1 - 1e-9));
    expect(svd.relativeError).toBeLessThan(best * 1.002);
    // The six that stand out are found to many digits.
    expectClose(svd.s.slice(0, Math.min(6, rank)), s.slice(0, Math.min(6, rank)), 1e-5 * s[0]!);

    const values = readRows(matrix);
    const error = rebuild(svd).map((value, i) => value - values[i]!);
    const relative = Math.sqrt(dot(error, error) / values.reduce((sum, x) => sum + x * x, 0));
    expect(Math.abs(relative - svd.relativeError)).toBeLessThan(1e-9);
  });

  test("is exact where rows or columns are few, whichever are fewer", () => {
    for (const [rows, cols] of [
      [10, 300],
      [300, 10],
    ] as const) {
      const matrix = pruned(rows, cols, 7);
      const svd = rowsSvd(matrix, 10);
      expect(svd.relativeError).toBe(0);
      expectClose(rebuild(svd), readRows(matrix), 1e-12);
    }
  });

  test("gives the same bits again, and reads the matrix four times", () => {
    const matrix = pruned(150, 160, 3);
    let rows = 0;
    const counted = mapRows(matrix, (_, __, count) => {
      rows += count;
    });
    expect(rowsSvd(counted, 3)).toEqual(rowsSvd(matrix, 3));
    expect(rows).toBe(4 * 150);
  });

  test("finds less than asked where there is less: zero, and rank 2 of 8", () => {
    expect(rowsSvd(storedRows(new Float32Array(200 * 200), 200, 200), 8)).toMatchObject({
      s: [0],
      relativeError: 0,
    });
    const product = productRows(randomValues(400, 1), randomValues(400, 2), {
      rows: 200,
      cols: 200,
      scale: 1,
    });
    const svd = rowsSvd(product, 8);
    // The product is rounded to f32, which has full rank far below.
    expect(svd.s[2]!).toBeLessThan(1e-5 * svd.s[0]!);
    expect(svd.relativeError).toBeLessThan(1e-6);
  });
});

describe("the largest elements", () => {
  test("are those of a full sort, the first of equals first, in every count", () => {
    for (const values of [
      randomValues(120, 1),
      Float32Array.from({ length: 120 }, (_, i) => ((i * 7) % 5) - 2),
      new Float32Array(120),
      Float32Array.from({ length: 120 }, (_, i) => (i % 3 === 0 ? -1e-42 : 3e38)),
    ]) {
      const order = Array.from(values.keys()).sort(
        (i, j) => Math.abs(values[j]!) - Math.abs(values[i]!) || i - j,
      );
      for (const count of [0, 1, 2, 39, 40, 41, 60, 119, 120]) {
        const kept = new Set(order.slice(0, count));
        const expected = values.map((value, i) => (kept.has(i) ? value : 0));
        const matrix = storedRows(values, 10, 12);
        const found = readRows(pruneSmallest(matrix, count === 0 ? 0.001 : count / 120));
        expect(found).toEqual(expected);
      }
    }
  });

  test("are counted without keeping them: a matrix of 2^24 equal elements", () => {
    const ones: RowMatrix = {
      rows: 1 << 10,
      cols: 1 << 14,
      read: (_, count, block) => block.fill(1, 0, count << 14),
    };
    const { bits, end } = selectLargest(ones, 5_000_000);
    expect(new Float32Array(Uint32Array.of(bits).buffer)[0]).toBe(1);
    expect(end).toBe(5_000_000);
  });
});
