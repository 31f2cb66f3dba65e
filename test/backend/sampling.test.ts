// The capability `sampling` of the backends that have it: exact ids and logits, log sums within what e^x and log leave open.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import type { Chosen, Sampling } from "../../src/backend/sampling.ts";
import { backendsAndGpu } from "../support/backends.ts";
import { matrixSource, Operands } from "../support/operands.ts";
import { expectClose, randomValues } from "../support/values.ts";

const SUBJECTS = backendsAndGpu.filter(({ name }) => name === "reference" || name === "webgpu");
/** 1, around a stretch, a prime, a real vocabulary */
const COLS = [1, 5, 1023, 1024, 1025, 2053, 49152] as const;

function expectedOf(row: Float32Array, k: number): { ids: number[]; logSum: number } {
  const order = Array.from(row.keys()).sort((a, b) => row[b]! - row[a]! || a - b);
  const max = row[order[0]!]!;
  const sum = row.reduce((total, x) => total + Math.exp(x - max), 0);
  return { ids: order.slice(0, k), logSum: max + Math.log(sum) };
}

describe.each(SUBJECTS)("sampling on $name", ({ create, unavailable }) => {
  if (unavailable !== undefined) {
    test.skip(`is not available here: ${unavailable}`, () => undefined);
    return;
  }

  let backend: Backend;
  let sampling: Sampling;
  beforeAll(async () => {
    backend = await create();
    sampling = backend.sampling!;
  });
  afterAll(async () => {
    await backend.dispose();
  });

  async function choose(
    values: Float32Array,
    rows: number,
    cols: number,
    k: number,
  ): Promise<Chosen> {
    const operands = new Operands(backend);
    const logits = await operands.tensor(values, rows, cols);
    const choice = sampling.createChoice(rows, k);
    sampling.choose(choice, logits, rows);
    const chosen = await sampling.readChoice(choice, rows);
    sampling.freeChoice(choice);
    operands.free();
    return chosen;
  }

  test.each(COLS)("of %d logits: the best 1, 5 and 40", async (cols) => {
    const rows = cols > 10_000 ? 1 : 3;
    const values = randomValues(rows * cols, cols, 8);
    for (const k of [1, 5, 40].filter((each) => each <= cols)) {
      const { ids, logits, logSums } = await choose(values, rows, cols, k);
      for (let r = 0; r < rows; r++) {
        const row = values.subarray(r * cols, (r + 1) * cols);
        const expected = expectedOf(row, k);
        expect([...ids.slice(r * k, (r + 1) * k)]).toEqual(expected.ids);
        expect([...logits.slice(r * k, (r + 1) * k)]).toEqual(expected.ids.map((id) => row[id]));
        // e^x within (3 + 2 · 16) ulp of terms up to 1, a sum of which the log is taken
        expectClose([logSums[r]!], [expected.logSum], 1e-5);
      }
    }
  });

  test("equal logits: the lower id first, 0 and -0 being equal", async () => {
    const values = new Float32Array(2100).fill(-1);
    for (const id of [2050, 7, 1030, 3]) values[id] = 2.5;
    values[9] = -0;
    values[8] = 0;
    values[1500] = 0;
    const { ids } = await choose(values, 1, 2100, 8);
    expect([...ids]).toEqual([3, 7, 1030, 2050, 8, 9, 1500, 0]);
  });

  /** silu(gate) ⊙ up: a gate of 1e30 and an up of ±1e30 overflow; then infinity × 0. */
  async function overflowing(kind: "-" | "+" | "NaN", at: readonly number[]): Promise<Chosen> {
    const cols = 1500;
    const gate = new Float32Array(cols).fill(1);
    const up = randomValues(cols, 1, 4);
    for (const id of at) {
      gate[id] = 1e30;
      up[id] = kind === "-" ? -1e30 : 1e30;
    }
    const operands = new Operands(backend);
    const [x, y] = [await operands.tensor(gate, 1, cols), await operands.tensor(up, 1, cols)];
    backend.siluMul(x, x, y, 1);
    if (kind === "NaN") {
      const zeros = await operands.tensor(new Float32Array(cols), 1, cols);
      backend.siluMul(x, x, zeros, 1);
    }
    const choice = sampling.createChoice(1, 3);
    sampling.choose(choice, x, 1);
    const chosen = await sampling.readChoice(choice, 1);
    const values = await backend.read(x, 0, 1);
    if (kind === "-") {
      const expected = expectedOf(values, 3);
      expect(values.filter((value) => value === Number.NEGATIVE_INFINITY).length).toBe(at.length);
      expect(at.length === cols || [...chosen.ids].join() === expected.ids.join()).toBe(true);
      if (at.length < cols) expectClose(chosen.logSums, [expected.logSum], 1e-5);
    }
    sampling.freeChoice(choice);
    operands.free();
    return chosen;
  }

  test("-Infinity excludes; NaN, +Infinity, or nothing else show in the log sum", async () => {
    expect(Number.isFinite((await overflowing("-", [3, 1400])).logSums[0])).toBe(true);
    const nothing = Array.from({ length: 1500 }, (_, id) => id);
    for (const chosen of [
      await overflowing("+", [1300]),
      await overflowing("NaN", [1300]),
      await overflowing("-", nothing),
    ]) {
      expect(Number.isFinite(chosen.logSums[0])).toBe(false);
    }
  });

  test("the chosen id feeds the next step before it is read", async () => {
    const [cols, width] = [50, 12];
    const table = randomValues(cols * width, 3);
    const operands = new Operands(backend);
    const matrix = operands.keep(await backend.loadMatrix(matrixSource(table, cols, width), "f32"));
    const logits = await operands.tensor(randomValues(2 * cols, 4), 2, cols);
    const out = await operands.out(2, width);
    const choice = sampling.createChoice(2, 3);
    sampling.choose(choice, logits, 2);
    const pending = sampling.readChoice(choice, 2);
    sampling.embedChosen(out, matrix, choice, 2, 2);
    const embedded = await operands.result(out, 2);
    const { ids } = await pending;
    for (const r of [0, 1]) {
      const id = ids[r * 3]!;
      expectClose(
        embedded.subarray(r * width, (r + 1) * width),
        table.subarray(id * width, (id + 1) * width).map((value) => 2 * value),
        0,
      );
    }
    sampling.freeChoice(choice);
    operands.free();
  });
});
