// The wasm backend keeps calls of `linear` for one row as they were recorded. Whatever changes between two calls with the same
// list, the result is that of a list never seen before.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Backend, BankEntry, LinearOutput, Segment } from "../../src/backend/backend.ts";
import { supportedBuilds } from "../../src/backend/wasm/builds.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";
import { Operands } from "../support/operands.ts";
import { randomValues } from "../support/values.ts";

const [ROWS, COLS, RANK] = [45, 70, 5];

describe.each(supportedBuilds())("build %s", (build) => {
  describe.each(["f32", "q8", "q4"] as const)("%s", (type) => {
    let backend: Backend;
    let operands: Operands;
    let outputs: { out: LinearOutput["out"]; weight: LinearOutput["weight"]; bank: BankEntry[] }[];
    let segments: Segment[];
    let x: LinearOutput["out"];

    const load = (seed: number): Segment =>
      backend.loadSegment(
        {
          name: `segment ${seed}`,
          rank: RANK,
          rows: ROWS,
          cols: COLS,
          a: randomValues(RANK * COLS, seed),
          b: randomValues(ROWS * RANK, seed + 1),
        },
        type,
      );

    beforeEach(async () => {
      backend = await createWasmBackend({ build, threads: build.endsWith("threads") ? 2 : 1 });
      operands = new Operands(backend);
      x = await operands.tensor(randomValues(9 * COLS, 1), 9, COLS);
      segments = [10, 20, 30].map((seed) => operands.keep(load(seed)));
      outputs = [];
      for (const seed of [2, 3]) {
        const weight = await operands.matrix(randomValues(ROWS * COLS, seed), ROWS, COLS, type);
        const out = await operands.out(9, ROWS);
        const bank = [
          { segment: segments[0]!, m: 0.5 },
          { segment: segments[1]!, m: -2 },
        ];
        outputs.push({ out, weight, bank });
      }
    });

    afterEach(async () => {
      operands.free();
      await backend.dispose();
    });

    async function run(list: readonly LinearOutput[], n: number, row: number): Promise<number[][]> {
      backend.linear(x, n, list, row);
      const rows = await Promise.all(list.map(({ out }) => backend.read(out, 0, n)));
      return rows.map((values) => [...values]);
    }

    /** With the list that the backend has seen, and with one that it has not. */
    async function expectSame(row = 0): Promise<void> {
      const kept = await run(outputs, 1, row);
      expect(kept).toEqual(await run([...outputs], 1, row));
    }

    test("m changes, to 0 and back, and is given per row", async () => {
      await expectSame();
      const before = await run(outputs, 1, 0);
      outputs[0]!.bank[1] = { segment: segments[1]!, m: 7 };
      await expectSame();
      expect(await run(outputs, 1, 0)).not.toEqual(before);
      outputs[1]!.bank[0] = { segment: segments[0]!, m: 0 };
      await expectSame();
      outputs[1]!.bank[0] = { segment: segments[0]!, m: [0.25] };
      await expectSame();
      for (const { bank } of outputs) bank.fill({ segment: segments[0]!, m: 0 });
      await expectSame();
    });

    test("another segment, one more, one less", async () => {
      await expectSame();
      outputs[0]!.bank[0] = { segment: segments[2]!, m: 0.5 };
      await expectSame();
      outputs[0]!.bank.push({ segment: segments[0]!, m: 3 });
      await expectSame();
      outputs[0]!.bank.splice(0, 2);
      await expectSame();
    });

    test("another row, more rows, other outputs", async () => {
      await expectSame();
      await expectSame(4);
      await run(outputs, 9, 0); // working memory moves
      await expectSame(4);
      outputs[0] = { ...outputs[0]!, weight: outputs[1]!.weight };
      await expectSame(4);
      outputs.pop();
      await expectSame(4);
    });

    test("calls in one list of commands keep their m", async () => {
      const { bank, out: first } = outputs[0]!;
      const second = await operands.out(9, ROWS);
      const expected: number[][] = [];
      for (const m of [2, 3]) {
        bank[0] = { segment: segments[0]!, m };
        expected.push((await run([...outputs], 1, 0))[0]!);
      }
      await run(outputs, 1, 0);
      bank[0] = { segment: segments[0]!, m: 2 };
      backend.linear(x, 1, outputs, 0);
      const other = [
        { ...outputs[0]!, out: second, bank: [{ segment: segments[0]!, m: 3 }, bank[1]!] },
      ];
      backend.linear(x, 1, other, 0);
      expect([...(await backend.read(first, 0, 1))]).toEqual(expected[0]);
      expect([...(await backend.read(second, 0, 1))]).toEqual(expected[1]);
    });

    test("a segment that was freed is refused", async () => {
      await run(outputs, 1, 0);
      const gone = load(40);
      outputs[0]!.bank[0] = { segment: gone, m: 1 };
      await expectSame();
      backend.free(gone);
      expect(() => backend.linear(x, 1, outputs, 0)).toThrow("freed");
      outputs[0]!.bank[0] = { segment: segments[0]!, m: 1 };
      await expectSame();
    });
  });
});
