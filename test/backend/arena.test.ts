// The allocator over wasm memory: no two allocations share a cache line, what is freed is used again, and memory grows as far as
// the host lets it.
import fc from "fast-check";
import { expect, test } from "vitest";
import { Arena } from "../../src/backend/wasm/arena.ts";
import { failureOf } from "../formats/failure.ts";

const PAGE = 65536;

function createArena(maximum: number): Arena {
  return new Arena(new WebAssembly.Memory({ initial: 1, maximum }), 1000);
}

test("allocations never overlap, and all that is freed is one piece again", () => {
  const steps = fc.array(
    fc.record({ nBytes: fc.nat(200_000), frees: fc.nat(), keep: fc.boolean() }),
  );
  const property = fc.property(steps, (all) => {
    const arena = createArena(4096);
    const live: { offset: number; nBytes: number }[] = [];
    for (const { nBytes, frees, keep } of all) {
      const offset = arena.allocate(nBytes);
      expect(offset % 64).toBe(0);
      expect(offset).toBeGreaterThanOrEqual(1000);
      expect(offset + nBytes).toBeLessThanOrEqual(arena.u8.length);
      for (const other of live) {
        const apart = offset >= other.offset + other.nBytes || other.offset >= offset + nBytes;
        expect(apart).toBe(true);
      }
      live.push({ offset, nBytes });
      if (!keep) arena.free(live.splice(frees % live.length, 1)[0]!.offset);
    }
    for (const { offset } of live) arena.free(offset);
    expect(arena.allocate(1)).toBe(1024);
  });
  fc.assert(property, { numRuns: 100 });
});

test("grows by a quarter where there is room, and to the last page where there is not", async () => {
  const arena = createArena(1000);
  const sizes = new Set<number>();
  for (let i = 0; i < 990; i++) {
    arena.allocate(PAGE);
    sizes.add(arena.memory.buffer.byteLength / PAGE);
  }
  // 1 MiB at first, then a quarter, and single pages at the end: not one growth for each allocation.
  const grown = [...sizes];
  expect(grown.slice(0, 4)).toEqual([17, 33, 49, 65]);
  expect(grown.filter((pages) => pages < 900).length).toBeLessThan(20);
  expect(arena.memory.buffer.byteLength).toBeGreaterThanOrEqual(991 * PAGE);
  expect(await failureOf(() => arena.allocate(10 * PAGE))).toMatch(
    /^OUT_OF_MEMORY: WebAssembly memory cannot grow: expected 0\.6 MiB more/,
  );
  const offset = arena.allocate(1000); // it goes on
  arena.u8[offset + 999] = 1;
});

test("room made at once is enough, or refused at once", async () => {
  const arena = createArena(1000);
  arena.reserve(100 * PAGE);
  const { byteLength } = arena.memory.buffer;
  for (let i = 0; i < 100; i++) arena.allocate(PAGE);
  expect(arena.memory.buffer.byteLength).toBe(byteLength);
  arena.reserve(0);
  expect(await failureOf(() => arena.reserve(950 * PAGE))).toMatch(
    /^OUT_OF_MEMORY: WebAssembly memory cannot grow: expected 59\.4 MiB more/,
  );
  expect(arena.allocate(10) % 64).toBe(0); // it goes on
});

test("only what was handed out can be freed, and once", () => {
  const arena = createArena(10);
  const offset = arena.allocate(100);
  expect(() => arena.free(offset + 64)).toThrow("was not allocated");
  arena.free(offset);
  expect(() => arena.free(offset)).toThrow("was not allocated");
});
