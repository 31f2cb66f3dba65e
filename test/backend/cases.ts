// The operations' cases as data: what to run, and how far from the reference a result may be, with the derivation beside it.
// EPS is the relative error of one f32 rounding.
import type {
  Backend,
  BankEntry,
  KvCache,
  KvCacheType,
  LinearOutput,
  WeightType,
} from "../../src/backend/backend.ts";
import type { RopeScaling } from "../../src/backend/rope-frequencies.ts";
import type { FloatDType } from "../../src/formats/float.ts";
import { Operands } from "../support/operands.ts";
import { EPS, maxAbs, randomValues } from "../support/values.ts";

export type Bound = number | ((expected: Float32Array) => (i: number) => number);

export interface Case {
  readonly name: string;
  /** 0: equal numbers */
  readonly bound: Bound;
  /**
   * On WebGPU, where it differs: there sums of blocks have no fixed order, products may be fused with sums, e^x is off by
   * (3 + 2 |x|) ulp, a quotient by 2.5 and an inverse root by 2 (WGSL, "floating point accuracy"; an ulp is at most 2 EPS).
   */
  readonly gpuBound?: Bound;
  /** Runs on a backend; the results, one after another. Checks guards. */
  run(backend: Backend): Promise<Float32Array>;
}

export const WEIGHT_TYPES: readonly WeightType[] = ["f32", "q8", "q4"];

/** 1, around the block of 32, a prime, a real width */
const COLS = [1, 31, 32, 33, 61, 576] as const;
const TOKENS = [1, 2, 3, 5, 8, 17] as const;

/** Runs `body` with operands that are freed afterwards. */
async function withOperands<T>(
  backend: Backend,
  body: (operands: Operands) => Promise<T>,
): Promise<T> {
  const operands = new Operands(backend);
  try {
    return await body(operands);
  } finally {
    operands.free();
  }
}

// ---- embed: a copy, or one product (and one sum), each rounded once; and a product with the scale. Equal.

function embedCase(
  type: WeightType,
  cols: number,
  n: number,
  dtype?: FloatDType,
  scale?: number,
): Case {
  const rows = 37;
  const table = randomValues(rows * cols, cols, 3);
  return {
    name: `embed ${type} [${rows}, ${cols}], ${n} tokens${dtype ? `, from ${dtype}` : ""}${scale ? `, times ${scale}` : ""}`,
    bound: 0,
    gpuBound: type === "q4" ? 4 * 3 * EPS * (scale ?? 1) : 0, // |d q|, |m| <= 6, once not rounded
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const matrix = await operands.matrix(table, rows, cols, type, dtype);
        const out = await operands.out(n, cols);
        const ids = Array.from({ length: n }, (_, i) => (i * 11 + 36) % rows);
        backend.embed(out, matrix, ids, scale);
        return operands.result(out, n);
      }),
  };
}

// ---- rmsNorm: the sum of squares has relative error cols · EPS, halved by the root; about four more roundings.

/** @param heads norms per row, of `cols` columns each */
function rmsNormCase(cols: number, n: number, inPlace: boolean, heads = 1): Case {
  const values = randomValues(n * heads * cols, cols + n, 4);
  const weight = randomValues(cols, cols + 1, 2);
  const shape = heads === 1 ? `${cols}` : `${heads} × ${cols}`;
  return {
    name: `rmsNorm [${n}, ${shape}]${inPlace ? " in place" : ""}`,
    bound: (expected) => (i) => Math.abs(expected[i]!) * (cols / 2 + 5) * EPS,
    gpuBound: (expected) => (i) => Math.abs(expected[i]!) * (cols / 2 + 9) * EPS,
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const x = await operands.tensor(values, n, heads * cols);
        const out = inPlace ? x : await operands.out(n, heads * cols);
        const vector = operands.keep(backend.loadVector("norm", weight));
        backend.rmsNorm(out, x, vector, 1e-5, n);
        return operands.result(out, n);
      }),
  };
}

/** Added to what is there: one rounding more, of the sum. */
function rmsNormAddCase(cols: number, n: number): Case {
  const values = randomValues(n * cols, cols + n, 4);
  const weight = randomValues(cols, cols + 1, 2);
  const before = randomValues(n * cols, cols + 2, 3);
  const boundOf = (errors: number) => (expected: Float32Array) => (i: number) =>
    (Math.abs(expected[i]!) + Math.abs(before[i]!)) * (cols / 2 + errors) * EPS;
  return {
    name: `rmsNorm [${n}, ${cols}], added`,
    bound: boundOf(6),
    gpuBound: boundOf(10),
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const x = await operands.tensor(values, n, cols);
        const out = await operands.tensor(before, n, cols);
        const vector = operands.keep(backend.loadVector("norm", weight));
        backend.rmsNorm(out, x, vector, 1e-5, n, true);
        return operands.result(out, n);
      }),
  };
}

// ---- linear: q8 and q4 equal the reference, rounding for rounding. f32: see `linearBound`.

export interface LinearShape {
  readonly type: WeightType;
  readonly rows: number;
  readonly cols: number;
  readonly n: number;
  readonly bias?: boolean;
  readonly accumulate?: boolean;
  /** First row of x. Default 0 */
  readonly row?: number;
  /** One entry for each. */
  readonly bank?: readonly { rank: number; m: number | readonly number[]; bias?: boolean }[];
  /** Products that share x. Default 1 */
  readonly outputs?: number;
  /** Of the weights' file. Default F32 */
  readonly dtype?: FloatDType;
}

export function linearCase(shape: LinearShape): Case {
  const {
    type,
    rows,
    cols,
    n,
    bias = false,
    accumulate = false,
    row = 0,
    outputs = 1,
    dtype,
  } = shape;
  const bank = shape.bank ?? [];
  const x = randomValues((row + n) * cols, 1);
  const weight = randomValues(rows * cols, 2);
  const parts = [
    `linear ${type} [${rows}, ${cols}], ${n} tokens`,
    dtype && `from ${dtype}`,
    bias && "bias",
    accumulate && "accumulate",
    row > 0 && `from row ${row}`,
    outputs > 1 && `${outputs} outputs`,
    ...bank.map(({ rank, m, bias: own }) => `rank ${rank} × [${m}]${own ? " with bias" : ""}`),
  ];
  return {
    name: parts.filter(Boolean).join(", "),
    bound: type === "f32" ? () => linearBound(shape) : 0,
    gpuBound: () => linearBound(shape),
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const input = await operands.tensor(x, row + n, cols);
        const products: LinearOutput[] = [];
        for (let o = 0; o < outputs; o++) {
          // later products have one row less, so that their shapes differ
          const outRows = Math.max(1, rows - o);
          const old = accumulate
            ? await operands.tensor(randomValues(n * outRows, 3 + o), n, outRows)
            : await operands.out(n, outRows);
          const matrix = await operands.matrix(
            weight.subarray(0, outRows * cols),
            outRows,
            cols,
            type,
            dtype,
          );
          const vector = bias
            ? operands.keep(backend.loadVector("bias", randomValues(outRows, 4 + o)))
            : undefined;
          const entries = bank.map((entry, e) =>
            bankEntry(operands, type, outRows, cols, entry, e),
          );
          products.push({ out: old, weight: matrix, bias: vector, bank: entries, accumulate });
        }
        backend.linear(input, n, products, row);
        const results: number[] = [];
        for (const { out } of products) results.push(...(await operands.result(out, n)));
        return Float32Array.from(results);
      }),
  };
}

function bankEntry(
  operands: Operands,
  type: WeightType,
  rows: number,
  cols: number,
  { rank, m, bias = false }: { rank: number; m: number | readonly number[]; bias?: boolean },
  seed: number,
): BankEntry {
  const segment = operands.backend.loadSegment(
    {
      name: "test.lora",
      rank,
      rows,
      cols,
      a: randomValues(rank * cols, 10 + seed),
      b: randomValues(rows * rank, 20 + seed),
      bias: bias ? randomValues(rows, 30 + seed) : undefined,
    },
    type,
  );
  return { segment: operands.keep(segment), m };
}

/**
 * Operands lie in (-1, 1). The partial sums of K products have a spread of sqrt(K) / 3 and stay within sqrt(K), so each of
 * the K roundings is off by at most EPS · sqrt(K); their signs are random, so together by about EPS · K. Twice that, and four
 * roundings for bias, residual and result. (Blocks round less often: in q8 three times per 32 columns, in q4 six times.) An
 * entry: h is off by this times |m|, carried through `rank` terms of random sign; and B h sums `rank` terms as large as h,
 * |m| sqrt(cols).
 */
export function linearBound({ cols, bank = [] }: LinearShape): () => number {
  const sumError = (terms: number): number => 2 * EPS * (terms + 4);
  let bound = sumError(cols);
  for (const { rank, m: numbers } of bank) {
    const m = Math.max(...[numbers].flat().map(Math.abs));
    const h = m * Math.sqrt(cols);
    bound += m * sumError(cols) * Math.sqrt(rank) + sumError(rank) * h;
  }
  return () => bound;
}

/** Every combination of bias, accumulate and bank at one shape. */
function linearCombinations(type: WeightType): LinearShape[] {
  const shape = { type, rows: 45, cols: 70, n: 5 };
  const banks: NonNullable<LinearShape["bank"]>[] = [
    [],
    [{ rank: 8, m: 0.7 }],
    [
      { rank: 16, m: 1.5 },
      { rank: 33, m: -0.3 },
    ],
    [
      { rank: 1, m: 2 },
      { rank: 5, m: 0 },
      { rank: 32, m: 0.25, bias: true },
    ],
    [{ rank: 4, m: 0, bias: true }],
  ];
  return banks.flatMap((bank) =>
    [false, true].flatMap((bias) =>
      [false, true].map((accumulate) => ({ ...shape, bank, bias, accumulate })),
    ),
  );
}

/** m per row: a batch of several soups. */
function linearBatches(type: WeightType): LinearShape[] {
  const shape = { type, rows: 45, cols: 70 };
  return [
    { ...shape, n: 3, bank: [{ rank: 8, m: [0.7, 0, -1] }] },
    { ...shape, n: 1, bank: [{ rank: 8, m: [0.7] }] },
    { ...shape, n: 4, bank: [{ rank: 8, m: [2, 2, 2, 2, 9, 9] }] }, // more numbers than rows
    { ...shape, n: 5, bank: [{ rank: 8, m: [0, 0, 0, 0, 0], bias: true }], bias: true },
    // no m is 0: blends of the same adapters
    { ...shape, n: 2, bank: [{ rank: 16, m: [1, 2] }], outputs: 2 },
    {
      ...shape,
      n: 9,
      bank: [
        { rank: 5, m: [1, 2, 3, 4, 5, 6, 7, 8, 9] },
        { rank: 7, m: [0, 0, 0, 0, 0, 0, 0, 0, 0] },
        { rank: 40, m: [3, 3, 3, 1, 1, 1, 1, 1, 1] },
      ],
    },
    {
      ...shape,
      n: 8,
      accumulate: true,
      bank: [
        { rank: 16, m: [1, 0, 0, 0, 0, 0, 0, 0] },
        { rank: 5, m: [0, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0], bias: true },
        { rank: 33, m: [0, 0, 0, 0, 0, 0, -1, 1] },
      ],
    },
    {
      ...shape,
      n: 11,
      row: 2,
      outputs: 2,
      bank: [
        { rank: 16, m: 0.3 },
        { rank: 16, m: [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0] },
      ],
    },
  ];
}

function linearShapes(type: WeightType): LinearShape[] {
  const two = [
    { rank: 16, m: 1.2 },
    { rank: 16, m: 0.8 },
  ];
  return [
    ...COLS.map((cols, i) => ({ type, rows: [1, 31, 32, 33, 61, 7][i]!, cols, n: TOKENS[i]! })),
    ...TOKENS.map((n) => ({ type, rows: 48, cols: 96, n, bank: two })),
    { type, rows: 1536, cols: 576, n: 2, bank: two },
    { type, rows: 576, cols: 1536, n: 3, bank: two, accumulate: true },
    { type, rows: 192, cols: 576, n: 1, bank: two },
    { type, rows: 40, cols: 64, n: 3, row: 2, bank: two },
    { type, rows: 19, cols: 33, n: 9, outputs: 3, bank: two, bias: true },
    { type, rows: 70, cols: 40, n: 2, bank: [{ rank: 64, m: 1 }] },
    ...linearCombinations(type),
    ...linearBatches(type),
  ];
}

/** Backends may hold such weights as the file does. 9 and 18 units of 4 columns in a row, the last one not whole. */
function linearHalves(dtype: "F16" | "BF16"): LinearShape[] {
  const shape = { type: "f32", dtype, bank: [{ rank: 5, m: 0.7 }] } as const;
  return [
    { ...shape, rows: 45, cols: 70, n: 1, bias: true },
    { ...shape, rows: 19, cols: 33, n: 2, outputs: 3 },
    { ...shape, rows: 45, cols: 70, n: 5, accumulate: true },
    { ...shape, rows: 40, cols: 33, n: 33 },
    { ...shape, type: "q8", rows: 19, cols: 33, n: 1 },
  ];
}

// ---- rope: cos and sin within one rounding, two products and a sum: (|a| + |b|) · 4 EPS, |a|, |b| <= 3.

function ropeCase(
  headDim: number,
  heads: number,
  n: number,
  position: number,
  scaling?: RopeScaling,
): Case {
  const cols = heads * headDim;
  const values = randomValues(n * cols, headDim, 3);
  const name = scaling === undefined ? "" : ` ${scaling.type}`;
  return {
    name: `rope${name} ${heads} × ${headDim}, ${n} tokens at ${position}`,
    bound: 6 * 4 * EPS,
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const x = await operands.tensor(values, n, cols);
        const options = { headDim, theta: 10000, scaling, length: position + n };
        const rope = operands.keep(backend.createRope(options));
        backend.rope(x, rope, [{ cache: operands.noCache(), position, n }]);
        return operands.result(x, n);
      }),
  };
}

// ---- attention: see `attentionBound`.

function attentionCase(
  { heads, kvHeads, headDim }: { heads: number; kvHeads: number; headDim: number },
  n: number,
  position: number,
  type: KvCacheType = "f32",
  window?: number,
): Case {
  const length = position + n + 3;
  const kvCols = kvHeads * headDim;
  const q = randomValues(n * heads * headDim, 1, 2);
  const k = randomValues((position + n) * kvCols, 2, 2);
  const v = randomValues((position + n) * kvCols, 3, 2);
  return {
    name: `attention ${heads}/${kvHeads} × ${headDim}, ${n} tokens at ${position}, ${type} cache${window ? `, window ${window}` : ""}`,
    bound: attentionBound(headDim, position + n),
    gpuBound: attentionBound(headDim, position + n, GPU_WEIGHT),
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const cache = operands.keep(
          backend.createKvCache({ type, layers: 3, kvHeads, headDim, length }),
        );
        const query = await operands.tensor(q, n, heads * headDim);
        const out = await operands.out(n, heads * headDim);
        await fillCache(operands, cache, k, v, pieces(position, n));
        backend.attention(out, query, 1, [{ cache, position, n }], window);
        return operands.result(out, n);
      }),
  };
}

/**
 * Where attention sees one position, out is that value, e^0 / e^0 of it, as the cache holds it: what is halfway between two halves,
 * one bit beside it, subnormal, too large.
 */
function halvesCase(): Case {
  const awkward = [1, 3, 1024, 1025, 2047].flatMap((q) => [
    q,
    q + 0.5,
    q + 0.5 + 2 ** -12,
    q + 0.5 - 2 ** -12,
  ]);
  const values = Float32Array.from(
    [
      ...awkward,
      ...awkward.map((x) => -x * 2 ** -24),
      ...awkward.map((x) => x * 2 ** 4),
      65504,
      65519.99,
      65520,
      65536,
      1e30,
      -1e30,
      2 ** -25,
      2 ** -25 * 1.0000001,
      2 ** -26,
      -0,
      1e-30,
      0.1,
    ],
    Math.fround,
  );
  const [headDim, n] = [values.length, 1];
  return {
    name: "attention over awkward halves",
    bound: 0,
    gpuBound: (expected) => (i) => 2.5 * 2 * EPS * Math.abs(expected[i]!), // a quotient
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const shape = { layers: 1, kvHeads: 1, headDim, length: 3 };
        const cache = operands.keep(backend.createKvCache({ type: "f16", ...shape }));
        const x = await operands.tensor(values, n, headDim);
        const zeros = await operands.tensor(new Float32Array(headDim), n, headDim);
        const out = await operands.out(n, headDim);
        backend.writeKv(0, zeros, x, [{ cache, position: 0, n }]);
        backend.attention(out, zeros, 0, [{ cache, position: 0, n }]);
        return operands.result(out, n);
      }),
  };
}

/** Writes k and v into layer 1, in pieces [start, end); other layers hold other things. */
async function fillCache(
  operands: Operands,
  cache: KvCache,
  k: Float32Array,
  v: Float32Array,
  parts: readonly [number, number][],
): Promise<void> {
  const cols = cache.kvHeads * cache.headDim;
  for (const [start, end] of parts) {
    const n = end - start;
    const rows = (x: Float32Array): Float32Array => x.subarray(start * cols, end * cols);
    const keys = await operands.tensor(rows(k), n, cols);
    const values = await operands.tensor(rows(v), n, cols);
    const spans = [{ cache, position: start, n }];
    operands.backend.writeKv(1, keys, values, spans);
    operands.backend.writeKv(0, values, keys, spans);
    operands.backend.writeKv(2, values, values, spans);
  }
}

function pieces(position: number, n: number): [number, number][] {
  const cut = Math.floor(position / 3);
  const all: [number, number][] = [
    [0, cut],
    [cut, position],
    [position, position + n],
  ];
  return all.filter(([start, end]) => end > start);
}

/**
 * |q|, |k|, |v| <= 2. A score sums headDim terms of root mean square 4/3 and is divided by sqrt(headDim): by the reasoning of
 * `linearBound` it is off by about 4/3 EPS sqrt(headDim), thrice that at most. A weight e^(s - max) / Σ moves by twice that, and by
 * 8 EPS for e^x (two ulp), the quotient and the difference; each of the two sums over what is seen adds sqrt(seen) EPS.
 */
function attentionBound(headDim: number, seen: number, weight = 8): number {
  const score = 4 * EPS * Math.sqrt(headDim);
  return 2 * (2 * score + (weight + 2 * Math.sqrt(seen)) * EPS);
}

/** e^x (3 + 2 |x|) ulp, at most 3 + 2 / e of the largest weight; when stretches are joined once more; and a quotient. */
const GPU_WEIGHT = 2 * 8 + 5;

// ---- spans of different caches, lengths and positions: each as if it were alone.

const SPANS = [
  { position: 5, n: 1, length: 6 },
  { position: 0, n: 3, length: 40 },
  { position: 17, n: 1, length: 40 },
  { position: 2, n: 6, length: 9 },
] as const;
const SPAN_ROWS = 11;

function ropeSpansCase(headDim: number, heads: number): Case {
  const cols = heads * headDim;
  const values = randomValues(SPAN_ROWS * cols, headDim, 3);
  return {
    name: `rope ${heads} × ${headDim}, several spans`,
    bound: 6 * 4 * EPS,
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const x = await operands.tensor(values, SPAN_ROWS, cols);
        const options = { headDim, theta: 10000, scaling: undefined, length: 20 };
        const rope = operands.keep(backend.createRope(options));
        const cache = operands.noCache();
        backend.rope(
          x,
          rope,
          SPANS.map(({ position, n }) => ({ cache, position, n })),
        );
        return operands.result(x, SPAN_ROWS);
      }),
  };
}

/** The third span goes on in the cache of the second. Their keys and values enter the caches by one call, as in a decoder. */
function attentionSpansCase(
  shape: { heads: number; kvHeads: number; headDim: number },
  window?: number,
): Case {
  const { heads, kvHeads, headDim } = shape;
  const [cols, kvCols] = [heads * headDim, kvHeads * headDim];
  const q = randomValues(SPAN_ROWS * cols, 1, 2);
  const k = randomValues(SPAN_ROWS * kvCols, 2, 2);
  const v = randomValues(SPAN_ROWS * kvCols, 3, 2);
  return {
    name: `attention ${heads}/${kvHeads} × ${headDim}, several spans${window ? `, window ${window}` : ""}`,
    bound: attentionBound(headDim, 20),
    gpuBound: attentionBound(headDim, 20, GPU_WEIGHT),
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const spans = [];
        for (const [i, { position, n, length }] of SPANS.entries()) {
          const options = { layers: 3, kvHeads, headDim, length };
          const cache = operands.keep(backend.createKvCache(options));
          const past = [4 + i, 14 + i].map((seed) => randomValues(position * kvCols, seed, 2));
          const parts: [number, number][] = position > 0 ? [[0, position]] : [];
          await fillCache(operands, cache, past[0]!, past[1]!, parts);
          spans.push({ cache, position, n });
        }
        spans[2] = { cache: spans[1]!.cache, position: 3, n: 1 };
        const query = await operands.tensor(q, SPAN_ROWS, cols);
        const out = await operands.out(SPAN_ROWS, cols);
        const keys = await operands.tensor(k, SPAN_ROWS, kvCols);
        const values = await operands.tensor(v, SPAN_ROWS, kvCols);
        backend.writeKv(1, keys, values, spans);
        backend.writeKv(2, values, keys, spans);
        backend.attention(out, query, 1, spans, window);
        return operands.result(out, SPAN_ROWS);
      }),
  };
}

// ---- what follows q and k where heads are normed, as a decoder records it. After the norm, |a| + |b| of a pair is at most 2 M, M
// being the largest result, as rotation keeps a² + b²: q and k are off by 2 M (headDim / 2 + 9 + 4) EPS =: d. A score sums headDim
// products over sqrt(headDim): off by 2 d M sqrt(headDim), and a weight by twice that.

function headNormsCase(
  { heads, kvHeads, headDim }: { heads: number; kvHeads: number; headDim: number },
  n: number,
): Case {
  const [cols, kvCols] = [heads * headDim, kvHeads * headDim];
  const weight = randomValues(headDim, 6, 2);
  const boundOf =
    (more: number): Bound =>
    (expected) => {
      const most = maxAbs(expected.subarray(0, n * (cols + kvCols)));
      const off = 2 * most * (headDim / 2 + 13) * EPS;
      const weights = 2 * (2 * (2 * off * most * Math.sqrt(headDim)));
      const attention = weights + attentionBound(headDim, n, more);
      return (i) => (i < n * (cols + kvCols) ? off : attention);
    };
  return {
    name: `norms of heads ${heads}/${kvHeads} × ${headDim}, rope and attention, ${n} tokens`,
    bound: boundOf(8),
    gpuBound: boundOf(GPU_WEIGHT),
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const shape = { layers: 1, kvHeads, headDim, length: n };
        const cache = operands.keep(backend.createKvCache(shape));
        const rope = operands.keep(
          backend.createRope({ headDim, theta: 10000, scaling: undefined, length: n }),
        );
        const norm = operands.keep(backend.loadVector("norm", weight));
        const q = await operands.tensor(randomValues(n * cols, 1, 4), n, cols);
        const k = await operands.tensor(randomValues(n * kvCols, 2, 4), n, kvCols);
        const v = await operands.tensor(randomValues(n * kvCols, 3, 2), n, kvCols);
        const out = await operands.out(n, cols);
        const spans = [{ cache, position: 0, n }];
        backend.rmsNorm(q, q, norm, 1e-6, n);
        backend.rmsNorm(k, k, norm, 1e-6, n);
        backend.rope(q, rope, spans);
        backend.rope(k, rope, spans);
        backend.writeKv(0, k, v, spans);
        backend.attention(out, q, 0, spans);
        const results = [];
        for (const tensor of [q, k, out]) results.push(...(await operands.result(tensor, n)));
        return Float32Array.from(results);
      }),
  };
}

// ---- siluMul: e^-z within two ulp (4 EPS), then a sum, a quotient, a product: 8 EPS, plus what underflows.

function siluMulCase(cols: number, n: number, inPlace: boolean): Case {
  const z = randomValues(n * cols, cols, 12);
  const special = [-3, 0, -0, 100, -100, 88.7, -88.7, 1e-30, -1e30, 1e30];
  z.set(special.slice(0, z.length));
  const y = randomValues(n * cols, cols + 1, 3);
  return {
    name: `siluMul [${n}, ${cols}]${inPlace ? " in place" : ""}`,
    bound: (expected) => (i) => Math.abs(expected[i]!) * 8 * EPS + 1e-35,
    gpuBound: (expected) => (i) => Math.abs(expected[i]!) * (2 * (3 + 2 * 12) + 8) * EPS + 1e-35, // |z| <= 12
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const gate = await operands.tensor(z, n, cols);
        const up = await operands.tensor(y, n, cols);
        const out = inPlace ? gate : await operands.out(n, cols);
        backend.siluMul(out, gate, up, n);
        return operands.result(out, n);
      }),
  };
}

// ---- geluMul: z / (1 + e^-y), y = z (a + b z²). y is off by 6 EPS relatively, which e^-y multiplies by |y|; where y is positive,
// |y| e^-y stays below 1. The rest as siluMul.

const geluArgument = (z: number): number => z * (1.5957691216 + 0.0713548128 * z * z);

function geluMulCase(cols: number, n: number, inPlace: boolean): Case {
  const z = randomValues(n * cols, cols, 12);
  const special = [-3, 0, -0, 100, -100, 9.5, -9.5, 1e-30, -1e30, 1e30];
  z.set(special.slice(0, z.length));
  const y = randomValues(n * cols, cols + 1, 3);
  const boundOf =
    (errors: (power: number) => number): Bound =>
    (expected) =>
    (i) =>
      Math.abs(expected[i]!) * errors(Math.min(88, Math.max(1, -geluArgument(z[i]!)))) * EPS +
      1e-35;
  return {
    name: `geluMul [${n}, ${cols}]${inPlace ? " in place" : ""}`,
    bound: boundOf((power) => 8 + 6 * power),
    gpuBound: boundOf((power) => 2 * (3 + 2 * power) + 8 + 6 * power),
    run: (backend) =>
      withOperands(backend, async (operands) => {
        const gate = await operands.tensor(z, n, cols);
        const up = await operands.tensor(y, n, cols);
        const out = inPlace ? gate : await operands.out(n, cols);
        backend.geluMul(out, gate, up, n);
        return operands.result(out, n);
      }),
  };
}

const LLAMA3: RopeScaling = {
  type: "llama3",
  factor: 8,
  lowFreqFactor: 1,
  highFreqFactor: 4,
  originalLength: 256,
};

export const cases: readonly Case[] = [
  ...WEIGHT_TYPES.flatMap((type) => COLS.map((cols, i) => embedCase(type, cols, TOKENS[i]!))),
  ...(["F16", "BF16"] as const).map((dtype) => embedCase("f32", 33, 3, dtype)),
  ...WEIGHT_TYPES.map((type) => embedCase(type, 61, 5, undefined, Math.sqrt(640))),
  embedCase("f32", 33, 3, "BF16", Math.sqrt(1152)),
  ...COLS.map((cols, i) => rmsNormCase(cols, TOKENS[i]!, i % 2 === 1)),
  ...COLS.map((cols, i) => rmsNormAddCase(cols, TOKENS[i]!)),
  ...COLS.map((cols, i) => rmsNormCase(cols, TOKENS[5 - i]!, i % 2 === 0, 2 + i)),
  // with one KV head k is a head; 130 columns are more than two for each of 64 threads
  ...[2, 6, 20, 64, 128, 130].flatMap((headDim, i) => [
    headNormsCase({ heads: 3, kvHeads: 1, headDim }, TOKENS[i]!),
    headNormsCase({ heads: 4, kvHeads: 2, headDim }, TOKENS[5 - i]!),
  ]),
  ...WEIGHT_TYPES.flatMap((type) => linearShapes(type).map(linearCase)),
  ...(["F16", "BF16"] as const).flatMap((dtype) => linearHalves(dtype).map(linearCase)),
  ...[2, 6, 8, 20, 32, 64, 80].map((headDim, i) => ropeCase(headDim, 1 + (i % 3), 5, 7 * i)),
  ropeCase(64, 9, 17, 4000),
  ropeCase(64, 3, 3, 100, { type: "linear", factor: 4 }),
  ropeCase(64, 3, 8, 300, LLAMA3),
  ropeCase(20, 2, 1, 1000, LLAMA3),
  ...[2, 6, 8, 20, 32, 64, 80].flatMap((headDim, i) => [
    attentionCase({ heads: 4, kvHeads: 2, headDim }, TOKENS[i % 6]!, 0),
    attentionCase({ heads: 3, kvHeads: 1, headDim }, TOKENS[(i + 2) % 6]!, 31 + i),
  ]),
  attentionCase({ heads: 9, kvHeads: 3, headDim: 64 }, 8, 200),
  attentionCase({ heads: 6, kvHeads: 6, headDim: 8 }, 1, 61),
  ...[1, 63, 64, 65, 300].flatMap((position, i) => [
    attentionCase({ heads: 9, kvHeads: 3, headDim: 64 }, 1, position, "f16"),
    attentionCase({ heads: 2, kvHeads: 2, headDim: 80 }, 1, position, i % 2 ? "f16" : "f32"),
    attentionCase({ heads: 6, kvHeads: 2, headDim: 20 }, 7, position, i % 2 ? "f32" : "f16"),
  ]),
  attentionCase({ heads: 1, kvHeads: 1, headDim: 32 }, 1, 0),
  ...[128, 130, 192, 256].flatMap((headDim, i) => [
    attentionCase({ heads: 2, kvHeads: 1, headDim }, 1, 70, i % 2 ? "f16" : "f32"),
    attentionCase({ heads: 4, kvHeads: 2, headDim }, 5, 130, i % 2 ? "f32" : "f16"),
  ]),
  // windows of one position, within a block, at its borders, of several, and wider than all; decoding, and prompts that cross them
  ...[1, 5, 63, 64, 65, 130, 1000].flatMap((window, i) => [
    attentionCase({ heads: 6, kvHeads: 2, headDim: 20 }, 1, 200 + i, "f32", window),
    attentionCase({ heads: 4, kvHeads: 1, headDim: 64 }, 1, 191 + i, "f16", window),
    attentionCase({ heads: 3, kvHeads: 1, headDim: 32 }, 17, 60, i % 2 ? "f16" : "f32", window),
    attentionCase({ heads: 2, kvHeads: 2, headDim: 8 }, 140, 3, "f32", window),
  ]),
  attentionCase({ heads: 4, kvHeads: 1, headDim: 256 }, 1, 600, "f32", 512),
  halvesCase(),
  ropeSpansCase(64, 3),
  ropeSpansCase(6, 2),
  attentionSpansCase({ heads: 4, kvHeads: 2, headDim: 20 }),
  attentionSpansCase({ heads: 9, kvHeads: 3, headDim: 64 }),
  attentionSpansCase({ heads: 9, kvHeads: 3, headDim: 64 }, 4),
  ...COLS.map((cols, i) => siluMulCase(cols, TOKENS[i]!, i % 2 === 0)),
  ...COLS.map((cols, i) => geluMulCase(cols, TOKENS[i]!, i % 2 === 0)),
];

/** Guards against a case whose numbers all vanish. */
export function isTrivial(values: Float32Array): boolean {
  return values.length === 0 || maxAbs(values) === 0;
}
