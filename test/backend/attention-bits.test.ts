// Attention gives a token the same bits however its keys are dealt out: on any number of threads, alone, as the last of a
// prompt, or beside other sequences.
import { expect, test } from "vitest";
import type { Backend, KvCacheType } from "../../src/backend/backend.ts";
import { supportedBuilds } from "../../src/backend/wasm/builds.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";
import { Operands } from "../support/operands.ts";
import { randomValues } from "../support/values.ts";

const SHAPES = [
  { heads: 9, kvHeads: 3, headDim: 64 },
  { heads: 4, kvHeads: 4, headDim: 20 },
  { heads: 7, kvHeads: 1, headDim: 32 },
  { heads: 7, kvHeads: 1, headDim: 32, window: 100 },
  { heads: 3, kvHeads: 1, headDim: 64, window: 64 },
];
const THREADS = supportedBuilds().includes("baseline-threads") ? [1, 2, 3] : [1];
const SEEN = [1, 63, 64, 65, 128, 129, 331];
const LONGEST = 331;

interface Sequence {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly type: KvCacheType;
  readonly window?: number;
}

/** Outputs [n, heads × headDim] of the tokens at `position`.. of one and the same sequence, behind `others` like it. */
async function attend(
  backend: Backend,
  { heads, kvHeads, headDim, type, window }: Sequence,
  position: number,
  n: number,
  others = 0,
): Promise<Float32Array> {
  const operands = new Operands(backend);
  const [cols, kvCols] = [heads * headDim, kvHeads * headDim];
  const q = randomValues(LONGEST * cols, 1, 2).subarray((position - others) * cols);
  const key = await operands.tensor(randomValues(LONGEST * kvCols, 2, 2), LONGEST, kvCols);
  const value = await operands.tensor(randomValues(LONGEST * kvCols, 3, 2), LONGEST, kvCols);
  const query = await operands.tensor(q, others + n, cols);
  const out = await operands.out(others + n, cols);
  const caches = Array.from({ length: others + 1 }, () =>
    operands.keep(backend.createKvCache({ type, layers: 1, kvHeads, headDim, length: LONGEST })),
  );
  for (const cache of caches) backend.writeKv(0, key, value, [{ cache, position: 0, n: LONGEST }]);
  backend.attention(
    out,
    query,
    0,
    caches.map((cache, i) =>
      i < others ? { cache, position: 70 * i, n: 1 } : { cache, position, n },
    ),
    window,
  );
  const rows = await backend.read(out, others, n);
  operands.free();
  return rows;
}

test.each(SHAPES.flatMap((shape) => (["f32", "f16"] as const).map((type) => ({ ...shape, type }))))(
  "$heads/$kvHeads × $headDim, $type cache, window $window",
  async (sequence) => {
    const cols = sequence.heads * sequence.headDim;
    let all: Float32Array | undefined;
    for (const threads of THREADS) {
      const backend = await createWasmBackend({ threads });
      all ??= await attend(backend, sequence, 0, LONGEST);
      for (const n of SEEN) {
        expect(await attend(backend, sequence, n - 1, 1), `${n} seen, ${threads} threads`).toEqual(
          all.slice((n - 1) * cols, n * cols),
        );
      }
      expect(await attend(backend, sequence, 329, 2, 3), `not alone, ${threads} threads`).toEqual(
        all.slice(329 * cols),
      );
      await backend.dispose();
    }
  },
);
