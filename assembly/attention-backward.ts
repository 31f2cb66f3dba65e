// Gradients of causal attention over one sequence, by its q, k and v. Per head, with P = softmax(scale · q Kᵀ) and
// dP = dOut Vᵀ, where a query sees the last `window` keys up to its own:
//   dS = scale · P ⊙ (dP - Σ_j P ⊙ dP),  dQ = dS K,  dK = dSᵀ Q,  dV = Pᵀ dOut
// dK and dV add up over the query heads that share a KV head. P is recomputed. Each KV head belongs to one thread.
import { exponentiate } from "./softmax";
import { tile_4x8 } from "./tile-f32";

/** Bytes of scratch that a thread needs. np, dp: n and headDim rounded up to 8. */
function scratch_bytes(np: usize, dp: usize): usize {
  return 128 + 4 * (6 * np * dp + 2 * dp * np + 2 * np * np);
}

/**
 * dq, dout, q   [n, heads × headDim] f32
 * dk, dv, k, v  [n, kvHeads × headDim] f32
 * scratch       per thread 128 + 4 (8 np dp + 2 np²) bytes
 */
export function attention_backward_f32(
  dq: usize,
  dk: usize,
  dv: usize,
  dout: usize,
  q: usize,
  k: usize,
  v: usize,
  n: i32,
  heads: i32,
  kvHeads: i32,
  headDim: i32,
  scale: f32,
  scratch: usize,
  window: i32,
  tid: i32,
  threads: i32,
): void {
  const np = (n + 7) & ~7;
  const dp = (headDim + 7) & ~7;
  const tile = scratch + usize(tid) * scratch_bytes(np, dp);
  const matrix = usize(np) * dp * 4; // one [np, dp]
  const qs = tile + 128;
  const ks = qs + matrix;
  const douts = ks + matrix;
  const dks = douts + matrix;
  const dvs = dks + matrix;
  const dqs = dvs + matrix;
  const kt = dqs + matrix; // [dp, np]
  const vt = kt + matrix;
  const p = vt + matrix; // [np, np]
  const ds = p + usize(np) * np * 4;
  const group = heads / kvHeads;
  for (let kvHead = tid; kvHead < kvHeads; kvHead += threads) {
    gather(ks, k, n, np, kvHeads, headDim, dp, kvHead);
    transpose(kt, ks, np, dp);
    gather(qs, v, n, np, kvHeads, headDim, dp, kvHead);
    transpose(vt, qs, np, dp);
    memory.fill(dks, 0, 2 * matrix);
    for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
      gather(qs, q, n, np, heads, headDim, dp, head);
      gather(douts, dout, n, np, heads, headDim, dp, head);
      for (let i = 0; i < n; i += 4) {
        const rows = i << 2;
        for (let j = 0; j < i + 4; j += 8) {
          product(
            p + usize(i) * np * 4 + (j << 2),
            np,
            kt + (j << 2),
            np,
            qs + rows * dp,
            dp,
            headDim,
          );
          product(
            ds + usize(i) * np * 4 + (j << 2),
            np,
            vt + (j << 2),
            np,
            douts + rows * dp,
            dp,
            headDim,
          );
        }
        for (let r = i; r < i + 4; r++) {
          const row = usize(r) * np * 4;
          if (r < n) derive_row(p + row, ds + row, r + 1, window, np, scale, tile);
          else clear_rows(p + row, ds + row, np);
        }
        for (let d = 0; d < dp; d += 8) {
          product(
            dqs + ((i * dp + d) << 2),
            dp,
            ks + (d << 2),
            dp,
            ds + usize(i) * np * 4,
            np,
            min(i + 4, n),
          );
        }
      }
      scatter(dq, dqs, n, heads, headDim, dp, head);
      // Query i reaches key j only from i = j on; n rounded up to 4 rows are known.
      const known = (n + 3) & ~3;
      for (let j = 0; j < known; j += 4) {
        const from = usize(j) * np * 4 + (j << 2);
        for (let d = 0; d < dp; d += 8) {
          const at = (j * dp + d) << 2;
          add_transposed(tile, dks + at, dp, qs + at, ds + from, np, known - j);
          add_transposed(tile, dvs + at, dp, douts + at, p + from, np, known - j);
        }
      }
    }
    scatter(dk, dks, n, kvHeads, headDim, dp, kvHead);
    scatter(dv, dvs, n, kvHeads, headDim, dp, kvHead);
  }
}

/** One head of [n, heads × headDim] as [np, dp], padded with zeros. */
function gather(
  to: usize,
  from: usize,
  n: i32,
  np: i32,
  heads: i32,
  headDim: i32,
  dp: i32,
  head: i32,
): void {
  memory.fill(to, 0, usize(np) * dp * 4);
  for (let i = 0; i < n; i++) {
    memory.copy(
      to + ((i * dp) << 2),
      from + (((usize(i) * heads + head) * headDim) << 2),
      headDim << 2,
    );
  }
}

function scatter(
  to: usize,
  from: usize,
  n: i32,
  heads: i32,
  headDim: i32,
  dp: i32,
  head: i32,
): void {
  for (let i = 0; i < n; i++) {
    memory.copy(
      to + (((usize(i) * heads + head) * headDim) << 2),
      from + ((i * dp) << 2),
      headDim << 2,
    );
  }
}

/** [np, dp] to [dp, np]. */
function transpose(to: usize, from: usize, np: i32, dp: i32): void {
  for (let i = 0; i < np; i++) {
    for (let d = 0; d < dp; d++) {
      store<f32>(to + ((d * np + i) << 2), load<f32>(from + ((i * dp + d) << 2)));
    }
  }
}

/** out[4, 8] of a matrix with rows of outStep = x[4, count] w[count, 8]; steps in elements. */
function product(
  out: usize,
  outStep: i32,
  w: usize,
  wStep: i32,
  x: usize,
  xStep: i32,
  count: i32,
): void {
  const step = usize(xStep) << 2;
  tile_4x8(
    out,
    usize(outStep) << 2,
    w,
    usize(wStep) << 2,
    x,
    x + step,
    x + 2 * step,
    x + 3 * step,
    4,
    count,
  );
}

/** out[4, 8] += xᵀ w over count rows: x[k][0..3] (rows of xStep), w[k][0..7] (rows of outStep, as out). */
function add_transposed(
  tile: usize,
  out: usize,
  outStep: i32,
  w: usize,
  x: usize,
  xStep: i32,
  count: i32,
): void {
  const step = usize(outStep) << 2;
  tile_4x8(tile, 32, w, step, x, x + 4, x + 8, x + 12, usize(xStep) << 2, count);
  for (let i = 0; i < 4; i++) {
    const to = out + usize(i) * step;
    v128.store(to, f32x4.add(v128.load(to), v128.load(tile + (i << 5))));
    v128.store(to, f32x4.add(v128.load(to, 16), v128.load(tile + (i << 5), 16)), 16);
  }
}

/**
 * One query: raw products p = q·k and ds = dout·v of `visible` keys, or the last `window` of them, become P and dS; the rest of np
 * is 0. sums: 8 bytes of scratch.
 */
function derive_row(
  p: usize,
  ds: usize,
  visible: i32,
  window: i32,
  np: i32,
  scale: f32,
  sums: usize,
): void {
  for (let j = 0; j < visible - window; j++) store<f32>(p + (j << 2), -Infinity);
  exponentiate(p, visible, np, scale, sums);
  const inverse: f32 = 1 / load<f32>(sums, 4);
  let mean: f32 = 0;
  for (let j = 0; j < visible; j++) {
    const at = j << 2;
    const weight = load<f32>(p + at) * inverse;
    store<f32>(p + at, weight);
    mean += weight * load<f32>(ds + at);
  }
  for (let j = 0; j < visible; j++) {
    const at = j << 2;
    store<f32>(ds + at, scale * load<f32>(p + at) * (load<f32>(ds + at) - mean));
  }
  memory.fill(ds + (visible << 2), 0, (np - visible) << 2);
}

function clear_rows(p: usize, ds: usize, np: i32): void {
  memory.fill(p, 0, np << 2);
  memory.fill(ds, 0, np << 2);
}
