// The wasm backend reads weights in pieces, into memory that it uses again for the next ones.
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Backend, MatrixSource } from "../../src/backend/backend.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";
import { Operands } from "../support/operands.ts";
import { randomValues } from "../support/values.ts";

/** More than two pieces of 1 MiB, the last one not whole. */
const [ROWS, COLS] = [2500, 256];

let backend: Backend;
let operands: Operands;

beforeEach(async () => {
  backend = await createWasmBackend({ build: "baseline", threads: 1 });
  operands = new Operands(backend);
});

afterEach(async () => {
  operands.free();
  await backend.dispose();
});

interface Reads {
  /** Memory that was offered. */
  readonly offered: Uint8Array[];
  /** Called before a read ends. */
  delay?: (read: number) => Promise<void>;
}

/** A source that takes what memory it is offered. */
function sourceOf(values: Float32Array, reads: Reads): MatrixSource {
  const bytes = new Uint8Array(values.buffer);
  return {
    name: "test.weight",
    rows: ROWS,
    cols: COLS,
    dtype: "F32",
    async read(start, n, into) {
      const piece = bytes.subarray(start * COLS * 4, (start + n) * COLS * 4);
      if (into === undefined) return piece.slice();
      reads.offered.push(into);
      await reads.delay?.(reads.offered.length);
      into.set(piece);
      return into.subarray(0, piece.length);
    },
  };
}

/** Whether what was loaded is `values`; an assertion's comparison would take seconds. */
async function holds(values: Float32Array, source: MatrixSource): Promise<boolean> {
  const matrix = operands.keep(await backend.loadMatrix(source, "f32"));
  const rows = await operands.out(ROWS, COLS);
  backend.embed(
    rows,
    matrix,
    Array.from({ length: ROWS }, (_, i) => i),
  );
  const loaded = await backend.read(rows, 0, ROWS);
  return loaded.length === values.length && loaded.every((value, i) => value === values[i]);
}

test("pieces, in turn and again for the next matrix", async () => {
  const reads: Reads = { offered: [] };
  for (const seed of [1, 2]) {
    const values = randomValues(ROWS * COLS, seed);
    expect(await holds(values, sourceOf(values, reads))).toBe(true);
  }
  expect(reads.offered.length).toBeGreaterThanOrEqual(6);
  expect(new Set(reads.offered.map(({ buffer }) => buffer)).size).toBe(2);
});

test("matrices that load at the same time", async () => {
  const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
  const all = [1, 2, 3].map((seed) => randomValues(ROWS * COLS, seed));
  const reads = { offered: [], delay: tick };
  const loads = all.map((values) => holds(values, sourceOf(values, reads)));
  expect(await Promise.all(loads)).toEqual([true, true, true]);
});

test("a read that outlives its failed load does no harm", async () => {
  const values = randomValues(ROWS * COLS, 1);
  const bad = values.slice();
  bad[3] = Number.NaN;
  let end = (): void => undefined;
  const late = new Promise<void>((resolve) => {
    end = resolve;
  });
  const delay = (read: number): Promise<void> => (read === 2 ? late : Promise.resolve());
  const failing = backend.loadMatrix(sourceOf(bad, { offered: [], delay }), "f32");
  await expect(failing).rejects.toThrow("NaN");
  // The late bytes arrive while the next matrix is loading.
  const next = sourceOf(values, {
    offered: [],
    delay: async (read) => {
      if (read === 2) end();
      await new Promise((resolve) => setTimeout(resolve));
    },
  });
  expect(await holds(values, next)).toBe(true);
});
