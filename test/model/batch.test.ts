// Passes over several sequences: each gets the bits that it gets alone, whatever its company.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend, KvCache, Segment, SoupEntry } from "../../src/backend/backend.ts";
import type { Banks, PassPart } from "../../src/model/decoder.ts";
import { RowBanks } from "../../src/model/row-banks.ts";
import { backends } from "../support/backends.ts";
import {
  allLogits,
  buildModel,
  freeModel,
  memoryCheckpoint,
  NO_BANKS,
  type Quantize,
  randomTensors,
  type TestModel,
  tinyConfig,
} from "../support/models.ts";
import { expectSameBits, randomValues } from "../support/values.ts";

const SEQUENCES = 4;
const LENGTHS = [23, 9, 1, 30];
const IDS = LENGTHS.map((n, s) => Array.from({ length: n }, (_, i) => (i * 17 + 5 * s + 3) % 61));

/** Three adapters on every linear layer, the head included; each sequence has its own blend, in load order. */
function randomSoups({ backend, weights }: TestModel): Banks[] {
  const ranks = [5, 8, 3];
  const soups: Map<string, SoupEntry[]>[] = IDS.map(() => new Map());
  // per sequence and adapter; 0: it has no entry
  const numbers = [
    [0.8, 0, -0.4],
    [0, 0.5, 0.7],
    [0, 0, 0],
    [0.3, 1, 0],
  ];
  for (const { info, matrix } of weights.linears.values()) {
    const { path, rows, cols } = info;
    const segments = ranks.map((rank) => {
      const a = randomValues(rank * cols, rank, 0.3);
      const b = randomValues(rows * rank, rank + 1, 0.3);
      return backend.loadSegment({ name: path, rank, rows, cols, a, b }, matrix.type);
    });
    soups.forEach((soup, s) => {
      const entries = segments.map((segment, i) => ({ segment, m: numbers[s]![i]! }));
      if (s !== 2)
        soup.set(
          path,
          entries.filter(({ m }) => m !== 0),
        );
    });
  }
  return soups;
}

describe.each(backends)("passes over several sequences on $name", (subject) => {
  const { name, create, unavailable } = subject;
  if (unavailable !== undefined) {
    test.skip(`is not available here: ${unavailable}`, () => undefined);
    return;
  }

  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(async () => {
    await backend.dispose();
  });

  test.each<Quantize>(["none", "q8", "q4"])("%s: every sequence as if alone", async (quantize) => {
    const config = tinyConfig();
    const checkpoint = memoryCheckpoint(randomTensors(config));
    const model = await buildModel(backend, config, checkpoint, { quantize, chunkSize: 32 });
    const { decoder } = model;
    const { vocabSize } = config;
    const soups = randomSoups(model);
    const alone: Float32Array[] = [];
    for (const [s, ids] of IDS.entries()) alone.push(await allLogits(model, ids, soups[s]));
    expect(alone[0]!.slice(0, vocabSize)).not.toEqual(
      (await allLogits(model, IDS[0]!, NO_BANKS)).slice(0, vocabSize),
    );

    /** Each pass takes so many tokens of each sequence (0: it sits out), the last `heads` with logits. */
    const run = async (passes: readonly { takes: number[]; heads: number }[]): Promise<number> => {
      const caches: KvCache[] = LENGTHS.map((n, s) => decoder.createCache(n + s));
      const position = LENGTHS.map(() => 0);
      let compared = 0;
      for (const { takes, heads } of passes) {
        const parts: (PassPart & { s: number })[] = [];
        let room = decoder.chunkSize;
        takes.forEach((take, s) => {
          const n = Math.min(take, LENGTHS[s]! - position[s]!, room);
          if (n === 0) return;
          room -= n;
          const logits = new Float32Array(Math.min(heads, n) * vocabSize);
          const ids = IDS[s]!.slice(position[s], position[s]! + n);
          parts.push({
            s,
            ids,
            position: position[s]!,
            cache: caches[s]!,
            banks: soups[s]!,
            logits,
          });
          position[s]! += n;
        });
        if (parts.length === 0) continue;
        await decoder.run(parts);
        for (const { s, logits } of parts) {
          const end = position[s]! * vocabSize;
          expectSameBits(logits!, alone[s]!.slice(end - logits!.length, end), `sequence ${s}`);
          compared += logits!.length;
        }
      }
      for (const cache of caches) decoder.freeCache(cache);
      return compared;
    };
    const together = { takes: [8, 8, 8, 8], heads: 8 };
    const ones = { takes: [1, 1, 1, 1], heads: 1 };
    const mixed = { takes: [1, 0, 1, 20], heads: 2 };
    expect(await run([together, together, together, together])).toBe(63 * vocabSize);
    expect(await run([ones, mixed, ones, ones])).toBeGreaterThan(0);
    if (name === "reference") return freeModel(model); // slow, and what follows is for the fast ones
    const pass = fc.record({
      takes: fc.array(fc.integer({ min: 0, max: 14 }), {
        minLength: SEQUENCES,
        maxLength: SEQUENCES,
      }),
      heads: fc.integer({ min: 0, max: 20 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(pass, { maxLength: 12 }),
        async (passes) => void (await run(passes)),
      ),
      { numRuns: 15 },
    );
    freeModel(model);
  });

  test("more tokens than a pass takes are refused", async () => {
    const config = tinyConfig();
    const checkpoint = memoryCheckpoint(randomTensors(config));
    const model = await buildModel(backend, config, checkpoint, { chunkSize: 8 });
    const cache = model.decoder.createCache(16);
    const ids = IDS[0]!.slice(0, 9);
    const pass = model.decoder.run([{ ids, position: 0, cache, banks: NO_BANKS }]);
    await expect(pass).rejects.toThrow("9 rows");
    freeModel(model);
  });
});

describe("banks of several sequences", () => {
  const segment = (rank: number): Segment => ({
    kind: "segment",
    type: "f32",
    rank,
    rows: 1,
    cols: 1,
    nBytes: 0,
  });
  const [a, b, c] = [segment(1), segment(2), segment(3)];
  const bank = (...entries: [Segment, number][]): Banks =>
    new Map([["w", entries.map(([one, m]) => ({ segment: one, m }))]]);
  const show = (banks: ReturnType<RowBanks["fill"]>, n: number): [number, number[]][] =>
    (banks.get("w") ?? []).map(({ segment: { rank }, m }) => [
      rank,
      typeof m === "number" ? [m] : Array.from(m).slice(0, n),
    ]);

  test("one m per row, 0 for the others, each sequence in its own order", () => {
    const rowBanks = new RowBanks(8);
    const runs = [
      { banks: bank([a, 1], [c, 2]), n: 1 },
      { banks: bank([a, 3], [b, 4]), n: 2 },
      { banks: bank([b, 5], [c, 6]), n: 1 },
      { banks: NO_BANKS, n: 1 },
    ];
    const expected = [
      [1, [1, 3, 3, 0, 0]],
      [3, [2, 0, 0, 0, 0]],
      [2, [0, 4, 4, 5, 0]],
      [3, [0, 0, 0, 6, 0]],
    ];
    expect(show(rowBanks.fill(runs), 5)).toEqual(expected);
    // nothing of an earlier pass is left
    const fewer = [
      { banks: NO_BANKS, n: 1 },
      { banks: bank([b, 7]), n: 1 },
    ];
    expect(show(rowBanks.fill(fewer), 2)).toEqual([[2, [0, 7]]]);
    expect(show(rowBanks.fill(runs), 5)).toEqual(expected);
  });

  test("one soup for all rows stays one number", () => {
    const rowBanks = new RowBanks(8);
    const banks = bank([a, 1]);
    expect(
      rowBanks.fill([
        { banks, n: 3 },
        { banks, n: 1 },
      ]),
    ).toBe(banks);
  });
});
