// The backward operations' cases as data, in the manner of cases.ts: what to run, and how far from the reference a result may
// be, with the derivation beside it. Every f32 rounding errs by EPS at most, relatively; a sum of K terms in any order
// by K EPS Σ|terms| at worst. Where only the size of operands is known, the roundings' signs are taken as random, as in cases.ts.
import type { Backend, SoupEntry, Tensor, WeightType } from "../../src/backend/backend.ts";
import type { Gradients, LinearGradient } from "../../src/backend/gradients.ts";
import type { FloatDType } from "../../src/formats/float.ts";
import { Operands } from "../support/operands.ts";
import { EPS, maxAbs, randomValues } from "../support/values.ts";
import type { Case } from "./cases.ts";

/** 1, around blocks of 4 and 32, primes, real widths */
const COLS = [1, 3, 4, 5, 31, 32, 33, 61, 576] as const;
const TOKENS = [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 33] as const;

type Bound = Case["bound"];
type Body = (operands: Operands, gradients: Gradients) => Promise<ArrayLike<number>[]>;

function gradientCase(name: string, bound: Bound, body: Body, gpuBound: Bound = bound): Case {
  return {
    name,
    bound,
    gpuBound,
    async run(backend: Backend): Promise<Float32Array> {
      const operands = new Operands(backend);
      try {
        const results = await body(operands, backend.gradients!);
        return Float32Array.from(results.flatMap((result) => Array.from(result)));
      } finally {
        operands.free();
      }
    },
  };
}

// ---- crossEntropy. The argument l - max errs by EPS |l - max|, e^x by 4 EPS, the sum of V exponentials by V EPS at worst, the
// quotient and the weight by 2 EPS: relative error of p. The loss is max + log Σ - l: the sum's relative error becomes an absolute
// one, the logarithm adds 4 EPS of its size.

export function crossEntropyCase(vocabulary: number, n: number, scale = 6): Case {
  const logits = randomValues(n * vocabulary, vocabulary, scale);
  const targets = Array.from({ length: n }, (_, i) => (i * 7 + vocabulary - 1) % vocabulary);
  const weights = Array.from({ length: n }, (_, i) => [1, 0.25, 0, 1 / 3][i % 4]!);
  const relative = (2 * scale + 4 + vocabulary + 3) * EPS;
  const bound: Bound = (expected) => (i) => {
    if (i < n) {
      const weight = weights[i]!;
      const size = Math.abs(expected[i]!) + weight * (Math.log(vocabulary) + 2 * scale);
      return weight * relative + 8 * EPS * size;
    }
    const row = Math.floor((i - n) / vocabulary);
    const isTarget = (i - n) % vocabulary === targets[row];
    const p = isTarget ? weights[row]! : Math.abs(expected[i]!);
    return p * (relative + EPS) + 1e-37;
  };
  return gradientCase(
    `crossEntropy [${n}, ${vocabulary}], logits to ±${scale}`,
    bound,
    async (operands, gradients) => {
      const x = await operands.tensor(logits, n, vocabulary);
      const losses = await operands.out(n, 1);
      gradients.crossEntropy(x, losses, targets, weights, n);
      return [await operands.result(losses, n), await operands.result(x, n)];
    },
  );
}

// ---- linearBackward: see `linearBackwardBound`. q8 and q4 weights too: dequantized, times unrounded x.

export interface LinearGradientShape {
  readonly type: WeightType;
  readonly rows: number;
  readonly cols: number;
  readonly n: number;
  readonly accumulate?: boolean;
  readonly row?: number;
  readonly bank?: readonly { rank: number; m: number; bias?: boolean }[];
  /** Products that share x; later ones have fewer rows. Default 1 */
  readonly products?: number;
  /** All entries add to one slot instead of one each. */
  readonly shared?: boolean;
  /** Of the weights' file. Default F32 */
  readonly dtype?: FloatDType;
}

export function linearBackwardCase(shape: LinearGradientShape): Case {
  const { type, rows, cols, n, accumulate = false, row = 0, products = 1, shared, dtype } = shape;
  const bank = shape.bank ?? [];
  const slots = shared ? 2 : Math.max(1, products * bank.length) + 1;
  const parts = [
    `linearBackward ${type} [${rows}, ${cols}], ${n} tokens`,
    dtype && `from ${dtype}`,
    accumulate && "accumulate",
    row > 0 && `from row ${row}`,
    products > 1 && `${products} products`,
    ...bank.map(({ rank, m, bias }) => `rank ${rank} × ${m}${bias ? " with bias" : ""}`),
    shared && "one slot",
  ];
  const total = row + n;
  return gradientCase(
    parts.filter(Boolean).join(", "),
    () => linearBackwardBound(shape, slots),
    async (operands, gradients) => {
      const { backend } = operands;
      const x = await operands.tensor(randomValues(total * cols, 1), total, cols);
      const dX = await operands.tensor(randomValues(total * cols, 2), total, cols);
      const dM = await operands.tensor(randomValues(slots, 3), 1, slots);
      const list: LinearGradient[] = [];
      for (let p = 0; p < products; p++) {
        const outRows = Math.max(1, rows - p);
        const values = randomValues(outRows * cols, 4);
        const weight = await operands.matrix(values, outRows, cols, type, dtype);
        const dOut = await operands.tensor(randomValues(n * outRows, 5 + p), n, outRows);
        const entries = bank.map(({ rank, m, bias }, e): SoupEntry => {
          const segment = backend.loadSegment(
            {
              name: "test.lora",
              rank,
              rows: outRows,
              cols,
              a: randomValues(rank * cols, 10 + e),
              b: randomValues(outRows * rank, 20 + e),
              bias: bias ? randomValues(outRows, 30 + e) : undefined,
            },
            type,
          );
          return { segment: operands.keep(segment), m };
        });
        // the last slot stays free, and must keep its value
        const own = entries.map((_, e) => (shared ? 0 : slots - 2 - p * entries.length - e));
        list.push({ dOut, weight, bank: entries, slots: own });
      }
      gradients.linearBackward(dX, x, dM, n, list, { accumulate, row });
      return [await operands.result(dX, total), await operands.result(dM, 1)];
    },
  );
}

/**
 * Operands lie in (-1, 1): a sum of K products of two has a spread of sqrt(K) / 3 and errs by 2 EPS (K + 4), see
 * `linearBound` in cases.ts. dX: the sum over rows; per entry dH = Bᵀ dOut (spread sqrt(rows)), carried through `rank`
 * terms times |m|. dM: n · rank terms dH · (A x), each factor's error times the other's spread, then the sum's own.
 */
function linearBackwardBound(shape: LinearGradientShape, slots: number): (i: number) => number {
  const { rows, cols, n, row = 0, bank = [], products = 1, shared = false } = shape;
  const sumError = (terms: number): number => 2 * EPS * (terms + 4);
  let dX = sumError(rows);
  let dM = 2 * EPS;
  let slot = 0;
  for (const { rank, m, bias } of bank) {
    const spread = Math.abs(m) * Math.sqrt(rows);
    dX += Math.abs(m) * sumError(rows) * Math.sqrt(rank) + sumError(rank) * spread;
    const terms = n * rank;
    const one =
      Math.sqrt(terms) * (Math.sqrt(rows) * sumError(cols) + Math.sqrt(cols) * sumError(rows)) +
      Math.sqrt(rows * cols) * sumError(terms) +
      (bias ? sumError(n * rows) : 0);
    slot = shared ? slot + one : Math.max(slot, one);
  }
  dM += shared ? slot * products : slot;
  dX *= products;
  const end = (row + n) * cols;
  return (i) => {
    if (i < row * cols) return 0; // rows before `row` stay
    if (i < end) return dX;
    return i === end + slots - 1 ? 0 : dM;
  };
}

function linearBackwardShapes(type: WeightType): LinearGradientShape[] {
  const two = [
    { rank: 8, m: 1.2 },
    { rank: 16, m: -0.8 },
  ];
  const awkward = [
    { rank: 1, m: 2 },
    { rank: 5, m: 0 },
    { rank: 33, m: 0.25, bias: true },
    { rank: 4, m: 0, bias: true },
  ];
  return [
    ...COLS.map((cols, i) => {
      const rows = [1, 31, 5, 32, 33, 4, 61, 7, 192][i]!;
      return { type, rows, cols, n: TOKENS[i]!, bank: [{ rank: 1 + i, m: 0.7 }] };
    }),
    ...TOKENS.map((n) => ({ type, rows: 48, cols: 96, n, bank: two })),
    { type, rows: 45, cols: 70, n: 5 },
    { type, rows: 45, cols: 70, n: 5, bank: awkward },
    { type, rows: 45, cols: 70, n: 5, bank: awkward, accumulate: true },
    { type, rows: 45, cols: 70, n: 6, bank: awkward, shared: true, products: 2 },
    { type, rows: 40, cols: 64, n: 3, row: 2, bank: two },
    { type, rows: 40, cols: 33, n: 4, row: 3, bank: two, accumulate: true },
    { type, rows: 19, cols: 33, n: 9, products: 3, bank: two },
    { type, rows: 64, cols: 32, n: 17, products: 2, bank: two, accumulate: true },
    { type, rows: 576, cols: 1536, n: 2, bank: two },
    { type, rows: 1536, cols: 576, n: 3, bank: two, products: 2 },
    { type, rows: 770, cols: 64, n: 5, row: 1 },
    { type, rows: 45, cols: 33, n: 5, bank: two, dtype: "F16" },
    { type, rows: 45, cols: 70, n: 5, dtype: "BF16" },
  ];
}

// ---- rmsNormBackward: worst case of every sum, from the numbers themselves. r errs by (cols / 2 + 3) EPS, r³ by thrice
// that, mean(g ⊙ x) by (cols + 3) EPS mean|g x|.

/** @param heads norms per row, of `cols` columns each */
export function rmsNormBackwardCase(cols: number, n: number, heads = 1): Case {
  const width = heads * cols;
  const x = randomValues(n * width, cols, 3);
  const old = randomValues(n * width, cols + 1);
  const gradient = randomValues(n * width, cols + 2);
  const weight = randomValues(cols, cols + 3, 2);
  const eps = 1e-5;
  const bound: Bound = (expected) => (i) => {
    const row = i - (i % cols);
    const c = i % cols;
    let squares = 0;
    let products = 0;
    for (let j = 0; j < cols; j++) {
      squares += x[row + j]! ** 2;
      products += Math.abs(gradient[row + j]! * weight[j]! * x[row + j]!);
    }
    const r = 1 / Math.sqrt(squares / cols + eps);
    const first = Math.abs(r * gradient[i]! * weight[c]!) * (cols / 2 + 6);
    const second = Math.abs(x[i]!) * r ** 3 * (products / cols) * (2.5 * cols + 16);
    return (first + second + 2 * Math.abs(old[i]!) + 2 * Math.abs(expected[i]!)) * EPS;
  };
  const shape = heads === 1 ? `${cols}` : `${heads} × ${cols}`;
  return gradientCase(`rmsNormBackward [${n}, ${shape}]`, bound, async (operands, gradients) => {
    const dX = await operands.tensor(old, n, width);
    const dOut = await operands.tensor(gradient, n, width);
    const input = await operands.tensor(x, n, width);
    const vector = operands.keep(operands.backend.loadVector("norm", weight));
    gradients.rmsNormBackward(dX, dOut, input, vector, eps, n);
    return [await operands.result(dX, n)];
  });
}

// ---- ropeBackward: as rope in cases.ts.

function ropeBackwardCase(headDim: number, heads: number, n: number, position: number): Case {
  const cols = heads * headDim;
  return gradientCase(
    `ropeBackward ${heads} × ${headDim}, ${n} tokens at ${position}`,
    6 * 4 * EPS,
    async (operands, gradients) => {
      const { backend } = operands;
      const dX = await operands.tensor(randomValues(n * cols, headDim, 3), n, cols);
      const options = { headDim, theta: 10000, scaling: undefined, length: position + n };
      const rope = operands.keep(backend.createRope(options));
      gradients.ropeBackward(dX, n, rope, position);
      return [await operands.result(dX, n)];
    },
  );
}

// ---- attentionBackward: see `attentionBackwardBound`.

export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly n: number;
  readonly window?: number | undefined;
}

export function attentionBackwardCase(shape: AttentionShape): Case {
  const { heads, kvHeads, headDim, n, window } = shape;
  const cols = heads * headDim;
  const kvCols = kvHeads * headDim;
  return gradientCase(
    `attentionBackward ${heads}/${kvHeads} × ${headDim}, ${n} tokens${window ? `, window ${window}` : ""}`,
    () => attentionBackwardBound(shape),
    async (operands, gradients) => {
      const dOut = await operands.tensor(randomValues(n * cols, 1), n, cols);
      const q = await operands.tensor(randomValues(n * cols, 2, 2), n, cols);
      const k = await operands.tensor(randomValues(n * kvCols, 3, 2), n, kvCols);
      const v = await operands.tensor(randomValues(n * kvCols, 4, 2), n, kvCols);
      const dQ = await operands.out(n, cols);
      const dK = await operands.out(n, kvCols);
      const dV = await operands.out(n, kvCols);
      gradients.attentionBackward(dQ, dK, dV, dOut, q, k, v, headDim, n, window);
      const kept = [dOut, q, k, v].map((tensor) => operands.result(tensor, n));
      await Promise.all(kept); // their guards
      return [
        await operands.result(dQ, n),
        await operands.result(dK, n),
        await operands.result(dV, n),
      ];
    },
  );
}

/**
 * |dOut| <= 1, |q|, |k|, |v| <= 2. As in `attentionBound` (cases.ts) a score errs by 4 EPS sqrt(headDim), so p relatively by
 * P = (8 sqrt(headDim) + 8 + 2 sqrt(n)) EPS. dP = dOut · v spreads over 2/3 sqrt(headDim), at most thrice that, D, and errs by
 * 2 EPS (headDim + 4). dS = p (dP - Σ p dP) / sqrt(headDim) errs by at most p (2 P D + E) / sqrt(headDim), with
 * E = 4 EPS (headDim + 4) + n EPS D. dQ sums that over t with Σ p = 1, times |k| <= 2. dK and dV sum over the tokens and over
 * the heads that share a KV head: n · heads / kvHeads terms of p <= 1, their own rounding included.
 */
function attentionBackwardBound({
  heads,
  kvHeads,
  headDim,
  n,
  window,
}: AttentionShape): (i: number) => number {
  const root = Math.sqrt(headDim);
  const relative = (8 * root + 8 + 2 * Math.sqrt(n)) * EPS;
  const spread = 2 * root;
  const dS = (2 * relative * spread + 4 * EPS * (headDim + 4) + n * EPS * spread) / root;
  const dQ = 2 * dS + n * EPS * 4;
  const terms = (n * heads) / kvHeads;
  // In column t of P, Σ_i p(i, t) is about Σ 1/(i + 1) per head for scores of moderate size; 2 + log n is generous. In a window it is
  // window times 1 / window, or few scores decide: n at most.
  const column = (heads / kvHeads) * Math.min(n, (2 + Math.log(n)) * (window ? 3 : 1));
  const dK = column * 2 * dS + terms * EPS * 4;
  const dV = column * relative + terms * EPS;
  const queryEnd = n * heads * headDim;
  const keyEnd = queryEnd + n * kvHeads * headDim;
  return (i) => (i < queryEnd ? dQ : i < keyEnd ? dK : dV);
}

// ---- siluMulBackward: e^-z within 4 EPS, a sum, a quotient: σ within 6 EPS, 1 - σ too. dGate = dOut up σ (1 + z (1 - σ)):
// the bracket may cancel, so its error is taken from |1| + |z (1 - σ)|.

function siluMulBackwardCase(cols: number, n: number, inPlace: boolean): Case {
  const z = randomValues(n * cols, cols, 12);
  const special = [-3, 0, -0, 30, -30, 80, -80, 1e-30, -1.2785, 100, -100];
  z.set(special.slice(0, z.length));
  const y = randomValues(n * cols, cols + 1, 3);
  const gradient = randomValues(n * cols, cols + 2);
  const half = n * cols;
  /** @param more what a σ may err beyond, in EPS */
  const boundOf =
    (more: (z: number) => number): Bound =>
    (expected) =>
    (i) => {
      if (i >= half) return Math.abs(expected[i]!) * (9 + more(z[i - half]!)) * EPS + 1e-35;
      const rest = 1 / (1 + Math.exp(z[i]!));
      const bracket = 1 + Math.abs(z[i]! * rest);
      const errors = 20 + 2 * more(z[i]!);
      return Math.abs(gradient[i]! * y[i]! * (1 - rest)) * bracket * errors * EPS + 1e-35;
    };
  const bound = boundOf(() => 0);
  // WGSL: e^z within (3 + 2 |z|) ulp, a quotient within 2.5; an ulp is at most 2 EPS
  const gpuBound = boundOf((value) => 2 * (3 + 2 * Math.abs(value)) + 5);
  return gradientCase(
    `siluMulBackward [${n}, ${cols}]${inPlace ? " in place" : ""}`,
    bound,
    async (operands, gradients) => {
      const gate = await operands.tensor(z, n, cols);
      const up = await operands.tensor(y, n, cols);
      const dOut = await operands.tensor(gradient, n, cols);
      const dGate = inPlace ? dOut : await operands.out(n, cols);
      const dUp = await operands.out(n, cols);
      gradients.siluMulBackward(dGate, dUp, dOut, gate, up, n);
      return [await operands.result(dGate, n), await operands.result(dUp, n)];
    },
    gpuBound,
  );
}

// ---- geluMulBackward, with y = z (a + b z²): y is off by 6 EPS relatively, σ(y) by |y| times that and 6 EPS, as σ(-y).
// dGate = dOut up σ(y) (1 + z (a + 3 b z²) σ(-y)): the bracket may cancel, as above.

function geluMulBackwardCase(cols: number, n: number, inPlace: boolean): Case {
  const z = randomValues(n * cols, cols, 12);
  const special = [-3, 0, -0, 9, -9, 30, -30, 1e-30, -0.7518, 100, -100];
  z.set(special.slice(0, z.length));
  const up = randomValues(n * cols, cols + 1, 3);
  const gradient = randomValues(n * cols, cols + 2);
  const half = n * cols;
  /** @param more what a σ may err beyond, in EPS */
  const boundOf =
    (more: (y: number) => number): Bound =>
    () =>
    (at) => {
      const i = at % half;
      const y = z[i]! * (1.5957691216 + 0.0713548128 * z[i]! ** 2);
      const slope = Math.abs(z[i]! * (1.5957691216 + 3 * 0.0713548128 * z[i]! ** 2));
      const power = Math.min(88, Math.abs(y));
      const errors = 20 + 2 * (6 * power + more(power));
      const sigma = 1 / (1 + Math.exp(-y));
      const factor = at < half ? up[i]! * (1 + slope / (1 + Math.exp(y))) : z[i]!;
      return Math.abs(gradient[i]! * sigma * factor) * errors * EPS + 1e-32; // σ below 1e-38 counts as 0, slope times
    };
  return gradientCase(
    `geluMulBackward [${n}, ${cols}]${inPlace ? " in place" : ""}`,
    boundOf(() => 0),
    async (operands, gradients) => {
      const gate = await operands.tensor(z, n, cols);
      const y = await operands.tensor(up, n, cols);
      const dOut = await operands.tensor(gradient, n, cols);
      const dGate = inPlace ? dOut : await operands.out(n, cols);
      const dUp = await operands.out(n, cols);
      gradients.geluMulBackward(dGate, dUp, dOut, gate, y, n);
      return [await operands.result(dGate, n), await operands.result(dUp, n)];
    },
    boundOf((y) => 2 * (3 + 2 * y) + 5),
  );
}

// ---- clear and copy: exact. `out` begins as guards, so the rows behind n show.

function clearCase(cols: number, n: number): Case {
  return gradientCase(`clear [${n}, ${cols}], and copy`, 0, async (operands, gradients) => {
    const values = randomValues(n * cols, cols);
    const from = await operands.tensor(values, n, cols);
    const to: Tensor = await operands.out(n, cols);
    gradients.copy(to, from, n);
    const copied = await operands.result(to, n);
    gradients.clear(to, n);
    return [copied, await operands.result(to, n), await operands.result(from, n)];
  });
}

export const gradientCases: readonly Case[] = [
  ...COLS.slice(1).map((cols, i) => crossEntropyCase(cols, TOKENS[i]!)),
  crossEntropyCase(2, 5, 80),
  crossEntropyCase(768, 3, 20),
  crossEntropyCase(4097, 2),
  ...(["f32", "q8", "q4"] as const).flatMap((type) =>
    linearBackwardShapes(type).map(linearBackwardCase),
  ),
  ...[1, 2, 5].flatMap((h) => COLS.map((cols, i) => rmsNormBackwardCase(cols, TOKENS[i]!, h))),
  rmsNormBackwardCase(128, 33),
  ...[2, 6, 8, 20, 32, 64, 80].map((headDim, i) => ropeBackwardCase(headDim, 1 + (i % 3), 5, i)),
  ropeBackwardCase(64, 9, 17, 0),
  ...TOKENS.map((n) => attentionBackwardCase({ heads: 4, kvHeads: 2, headDim: 32, n })),
  ...[2, 6, 10, 20, 24, 64, 80].flatMap((headDim, i) => [
    attentionBackwardCase({ heads: 3, kvHeads: 1, headDim, n: TOKENS[i]! }),
    attentionBackwardCase({ heads: 6, kvHeads: 2, headDim, n: TOKENS[i + 5]! }),
  ]),
  attentionBackwardCase({ heads: 9, kvHeads: 3, headDim: 64, n: 8 }),
  attentionBackwardCase({ heads: 5, kvHeads: 5, headDim: 8, n: 61 }),
  ...[1, 3, 8, 20, 100].flatMap((window, i) => [
    attentionBackwardCase({ heads: 4, kvHeads: 2, headDim: 32, n: 33, window }),
    attentionBackwardCase({ heads: 3, kvHeads: 1, headDim: 6, n: 13 + i, window }),
  ]),
  ...COLS.map((cols, i) => siluMulBackwardCase(cols, TOKENS[i]!, i % 2 === 0)),
  ...COLS.map((cols, i) => geluMulBackwardCase(cols, TOKENS[i]!, i % 2 === 0)),
  ...COLS.map((cols, i) => clearCase(cols, TOKENS[i]!)),
];

/** Guards against a case whose numbers all vanish. */
export function isTrivial(values: Float32Array): boolean {
  return values.length === 0 || maxAbs(values) === 0;
}
