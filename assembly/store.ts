// How four results (one per lane: 4 consecutive rows of one token) enter and leave memory.
import { ADD, CONTINUE } from "./layout";

/** Initial accumulator: the old output if the product continues it, else zero. */
export function start_rows(out: usize, nRows: i32, mode: i32): v128 {
  if (mode !== CONTINUE) return f32x4.splat(0);
  return load_rows(out, nRows);
}

/** As start_rows, for rows 4..7 of a tile of `nRows`. */
export function start_high(out: usize, nRows: i32, mode: i32): v128 {
  return nRows > 4 ? start_rows(out + 16, nRows - 4, mode) : f32x4.splat(0);
}

/**
 * Stores four tiles, `outStep` bytes apart: `low` are rows 0..3 of each, `high` rows 4..7. nRows: how many of the 8 exist.
 * bias of the first, or 0; of the others `biasStep` bytes apart.
 */
export function store_tiles(
  out: usize,
  outStep: usize,
  low0: v128,
  high0: v128,
  low1: v128,
  high1: v128,
  low2: v128,
  high2: v128,
  low3: v128,
  high3: v128,
  nRows: i32,
  mode: i32,
  bias: usize,
  biasStep: usize,
): void {
  const out1 = out + outStep;
  const out2 = out1 + outStep;
  const out3 = out2 + outStep;
  // The rule, and all of a bank's B, whose products are little but edges: one branch.
  if (nRows >= 8 && mode !== ADD && !bias) {
    v128.store(out, low0);
    v128.store(out, high0, 16);
    v128.store(out1, low1);
    v128.store(out1, high1, 16);
    v128.store(out2, low2);
    v128.store(out2, high2, 16);
    v128.store(out3, low3);
    v128.store(out3, high3, 16);
    return;
  }
  store_tile(out, low0, high0, nRows, mode, bias);
  store_tile(out1, low1, high1, nRows, mode, bias ? bias + biasStep : 0);
  store_tile(out2, low2, high2, nRows, mode, bias ? bias + 2 * biasStep : 0);
  store_tile(out3, low3, high3, nRows, mode, bias ? bias + 3 * biasStep : 0);
}

/** Stores the rows of a tile that exist. */
export function store_tile(
  out: usize,
  low: v128,
  high: v128,
  nRows: i32,
  mode: i32,
  bias: usize,
): void {
  store_rows(out, low, nRows, mode, bias);
  if (nRows > 4) store_rows(out + 16, high, nRows - 4, mode, bias ? bias + 16 : 0);
}

/** out = [out +] (acc [+ bias]). nRows: how many of the four lanes exist. bias may be 0 (none). */
export function store_rows(out: usize, acc: v128, nRows: i32, mode: i32, bias: usize): void {
  let value = acc;
  if (bias) value = f32x4.add(value, load_rows(bias, nRows));
  if (mode === ADD) value = f32x4.add(load_rows(out, nRows), value);
  put_rows(out, value, nRows);
}

/** Stores the lanes that exist. */
export function put_rows(out: usize, value: v128, nRows: i32): void {
  if (nRows >= 4) {
    v128.store(out, value);
    return;
  }
  store<f32>(out, f32x4.extract_lane(value, 0));
  if (nRows > 1) store<f32>(out, f32x4.extract_lane(value, 1), 4);
  if (nRows > 2) store<f32>(out, f32x4.extract_lane(value, 2), 8);
}

/** Loads the lanes that exist; the others are 0. */
export function load_rows(from: usize, nRows: i32): v128 {
  if (nRows >= 4) return v128.load(from);
  let value = v128.load32_zero(from);
  if (nRows > 1) value = f32x4.replace_lane(value, 1, load<f32>(from, 4));
  if (nRows > 2) value = f32x4.replace_lane(value, 2, load<f32>(from, 8));
  return value;
}
