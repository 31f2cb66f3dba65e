// The wasm backend repeats what it recorded for one token. Whatever changes between two tokens, the bits are those of calls that
// were never captured; where the same commands would be wrong, nothing is recorded and the caller told.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type {
  Backend,
  KvCache,
  Matrix,
  Rope,
  Segment,
  SoupEntry,
  Tensor,
  Vector,
} from "../../src/backend/backend.ts";
import type { Capture, Captures } from "../../src/backend/captures.ts";
import { supportedBuilds } from "../../src/backend/wasm/builds.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";
import { Operands } from "../support/operands.ts";
import { randomValues } from "../support/values.ts";

const [WIDTH, RANK, VOCABULARY, HEAD_DIM, LENGTH] = [48, 5, 11, 16, 200];
/** Keys are dealt out to threads by blocks of so many. */
const KEY_BLOCK = 64;

describe.each(supportedBuilds())("build %s", (build) => {
  describe.each(["f32", "q8", "q4"] as const)("%s", (type) => {
    const threads = build.endsWith("threads") ? 2 : 1;
    let backend: Backend;
    let captures: Captures;
    let operands: Operands;
    let table: Matrix;
    let weights: Matrix[];
    let x: Tensor;
    let [q, k, v, out]: Tensor[] = [];
    let norm: Vector;
    let rope: Rope;
    let cache: KvCache;
    let segments: Segment[];
    let entries: SoupEntry[];

    const load = (seed: number, bias?: Float32Array): Segment => {
      const [a, b] = [randomValues(RANK * WIDTH, seed), randomValues(WIDTH * RANK, seed + 1)];
      const name = `segment ${seed}`;
      return backend.loadSegment({ name, rank: RANK, rows: WIDTH, cols: WIDTH, a, b, bias }, type);
    };

    beforeEach(async () => {
      backend = await createWasmBackend({ build, threads });
      captures = backend.captures!;
      operands = new Operands(backend);
      const matrix = (rows: number, seed: number): Promise<Matrix> =>
        operands.matrix(randomValues(rows * WIDTH, seed), rows, WIDTH, type);
      table = await matrix(VOCABULARY, 1);
      weights = await Promise.all([2, 3, 4, 5].map((seed) => matrix(WIDTH, seed)));
      const tensor = (): Tensor => operands.keep(backend.createTensor(4, WIDTH));
      [x, q, k, v, out] = [tensor(), tensor(), tensor(), tensor(), tensor()];
      norm = operands.keep(backend.loadVector("q_norm", randomValues(HEAD_DIM, 6, 2)));
      const shape = { headDim: HEAD_DIM, length: LENGTH };
      rope = operands.keep(backend.createRope({ ...shape, theta: 100, scaling: undefined }));
      cache = operands.keep(backend.createKvCache({ ...shape, layers: 1, kvHeads: 3 }));
      segments = [load(10), load(20, randomValues(WIDTH, 22)), load(30)];
      for (const segment of segments) operands.keep(segment);
      entries = [0.5, -2, 0].map((m, i) => ({ segment: segments[i]!, m }));
    });

    afterEach(async () => {
      operands.free();
      await backend.dispose();
    });

    /** What a decoder's layer does with one token, in little. */
    function record(id: number, position: number): void {
      const spans = [{ cache, position, n: 1 }];
      const [wq, wk, wv, wo] = weights as [Matrix, Matrix, Matrix, Matrix];
      backend.embed(x, table, [id]);
      backend.linear(x, 1, [
        { out: q!, weight: wq, bank: entries.slice(0, 2) },
        { out: k!, weight: wk, bank: [] },
        { out: v!, weight: wv, bank: [entries[2]!] },
      ]);
      backend.rmsNorm(q!, q!, norm, 1e-6, 1); // its heads
      backend.rope(q!, rope, spans);
      backend.rope(k!, rope, spans);
      backend.writeKv(0, k!, v!, spans);
      backend.attention(out!, q!, 0, spans);
      backend.linear(out!, 1, [{ out: x, weight: wo, bank: [entries[0]!], accumulate: true }]);
    }

    const read = async (): Promise<number[]> => [...(await backend.read(x, 0, 1))];

    async function plain(id: number, position: number): Promise<number[]> {
      record(id, position);
      return read();
    }

    async function capture(id: number, position: number): Promise<Capture | undefined> {
      captures.start();
      record(id, position);
      const kept = captures.finish();
      await read();
      return kept;
    }

    async function expectReplay(kept: Capture, id: number, position: number): Promise<void> {
      const expected = await plain(id, position);
      await backend.read(q!, 0, 1);
      expect(captures.replay(kept, id, position)).toBe(true);
      expect(await read()).toEqual(expected);
    }

    test("other tokens, other positions, other m", async () => {
      for (let position = 0; position < 5; position++) await plain(position, position);
      const kept = (await capture(3, 5))!;
      await expectReplay(kept, 3, 5);
      await expectReplay(kept, 7, 6);
      const before = await plain(7, 6);
      entries[0]!.m = 1.5;
      entries[1]!.m = 0.25;
      await expectReplay(kept, 7, 6);
      expect(await plain(7, 6)).not.toEqual(before);
      await expectReplay(kept, 0, 7);
    });

    test("an m that becomes 0, or ceases to be, calls for other commands", async () => {
      const kept = (await capture(3, 0))!;
      entries[2]!.m = 1;
      expect(captures.replay(kept, 3, 0)).toBe(false);
      entries[2]!.m = 0;
      entries[1]!.m = 0;
      expect(captures.replay(kept, 3, 0)).toBe(false);
      entries[1]!.m = 3;
      await expectReplay(kept, 3, 0);
    });

    test("threads divide the keys of another block in another way", async () => {
      for (let position = 0; position < KEY_BLOCK; position++) await plain(1, position);
      const kept = (await capture(2, KEY_BLOCK - 1))!;
      if (threads === 1) await expectReplay(kept, 4, KEY_BLOCK);
      else expect(captures.replay(kept, 4, KEY_BLOCK)).toBe(false);
      const next = (await capture(4, KEY_BLOCK))!;
      await expectReplay(next, 5, KEY_BLOCK + 1);
    });

    test("positions behind the cache are refused", async () => {
      const kept = (await capture(2, 0))!;
      expect(captures.replay(kept, 2, LENGTH)).toBe(false);
    });

    test("after a handle was freed, or working memory moved, nothing is repeated", async () => {
      const kept = (await capture(2, 0))!;
      backend.free(load(40));
      expect(captures.replay(kept, 2, 0)).toBe(false);
      const again = (await capture(2, 0))!;
      const large = operands.keep(backend.createTensor(64, WIDTH));
      const ids = Array.from({ length: 64 }, () => 0);
      backend.embed(large, table, ids); // the ids move
      await read();
      expect(captures.replay(again, 2, 0)).toBe(false);
    });

    test("what is interrupted is not kept", async () => {
      captures.start();
      record(1, 0);
      await backend.read(q!, 0, 1);
      record(2, 1);
      expect(captures.finish()).toBeUndefined();
      const kept = (await capture(2, 0))!;
      record(3, 1); // waits
      expect(captures.replay(kept, 2, 0)).toBe(false);
      captures.start();
      expect(captures.finish()).toBeUndefined();
    });
  });
});
