// Rows that are quantized already keep their numbers, on every backend: what is embedded is d q, or d q + m, and products are those
// of the reference.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "../../src/backend/backend.ts";
import { createReferenceBackend } from "../../src/backend/reference/create.ts";
import { backendsAndGpu } from "../support/backends.ts";
import { bytesSource, Operands } from "../support/operands.ts";
import { expectClose, expectSameBits, random, randomValues } from "../support/values.ts";

/** Of no tile's or piece's size. */
const [ROWS, COLS] = [43, 160];
const BLOCKS = (ROWS * COLS) / 32;

interface Blocks {
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

/** Random blocks, written and read as the layout's description says. */
function makeBlocks(type: "q8" | "q4", seed: number): Blocks {
  const next = random(seed);
  const size = type === "q8" ? 36 : 20;
  const view = new DataView(new ArrayBuffer(BLOCKS * size));
  const values = new Float32Array(ROWS * COLS);
  for (let block = 0; block < BLOCKS; block++) {
    const at = block * size;
    view.setFloat32(at, (next() - 0.5) / 8, true);
    // a bf16 is the upper half of an f32
    if (type === "q4") {
      view.setUint16(at, view.getUint16(at + 2, true), true);
      view.setFloat32(at + 4, next() - 0.5, true);
      view.setUint16(at + 2, view.getUint16(at + 6, true), true);
    }
    for (let i = at + 4; i < at + size; i++) view.setUint8(i, Math.floor(next() * 256));
    const bf16 = (offset: number): number => {
      const wide = new DataView(new ArrayBuffer(4));
      wide.setUint16(2, view.getUint16(offset, true), true);
      return wide.getFloat32(0, true);
    };
    for (let column = 0; column < 32; column++) {
      const byte = view.getUint8(at + 4 + (column % 16));
      values[block * 32 + column] =
        type === "q8"
          ? view.getFloat32(at, true) * view.getInt8(at + 4 + column)
          : Math.fround(bf16(at) * (column < 16 ? byte & 15 : byte >> 4)) + bf16(at + 2);
    }
  }
  return { bytes: new Uint8Array(view.buffer), values };
}

const sourceOf = (bytes: Uint8Array, type: "q8" | "q4") =>
  bytesSource(bytes, ROWS, COLS, type === "q8" ? "Q8" : "Q4");

async function multiply(backend: Backend, type: "q8" | "q4", n: number): Promise<Float32Array> {
  const operands = new Operands(backend);
  const { bytes } = makeBlocks(type, 3);
  const weight = operands.keep(await backend.loadMatrix(sourceOf(bytes, type), type));
  const x = await operands.tensor(randomValues(n * COLS, 5), n, COLS);
  const out = await operands.out(n, ROWS);
  backend.linear(x, n, [{ out, weight, bank: [] }]);
  const result = await backend.read(out, 0, n);
  operands.free();
  return result;
}

describe.each(backendsAndGpu)("backend $name", ({ name, create, unavailable }) => {
  if (unavailable !== undefined) {
    test.skip(`is not available here: ${unavailable}`, () => undefined);
    return;
  }
  let backend: Backend;
  beforeAll(async () => {
    backend = await create();
  });
  afterAll(() => backend.dispose());

  test.each(["q8", "q4"] as const)("%s blocks are packed as they are", async (type) => {
    const operands = new Operands(backend);
    const { bytes, values } = makeBlocks(type, 1);
    const matrix = operands.keep(await backend.loadMatrix(sourceOf(bytes, type), type));
    const out = await operands.out(ROWS, COLS);
    backend.embed(
      out,
      matrix,
      Array.from({ length: ROWS }, (_, i) => i),
    );
    const found = await backend.read(out, 0, ROWS);
    // 0 has one value and two signs; a GPU may join product and sum in one rounding
    const near = name === "webgpu" ? 2 ** -23 : 0;
    expectClose(found, values, (i) => near * Math.abs(values[i]!));
    operands.free();
  });

  test.each(["q8", "q4"] as const)("%s blocks multiply as in the reference", async (type) => {
    for (const n of [1, 7]) {
      const found = await multiply(backend, type, n);
      const expected = await multiply(createReferenceBackend(), type, n);
      if (name !== "webgpu") expectSameBits(found, expected);
      else expectClose(found, expected, 1e-3);
    }
  });

  test.each([
    ["q8", 3 * 36, [0, 0, 0xc0, 0x7f]],
    ["q8", 3 * 36, [0, 0, 0x80, 0xff]],
    ["q4", 3 * 20, [0x80, 0x7f]],
    ["q4", 3 * 20 + 2, [0x80, 0xff]],
  ] as const)(
    "%s: a scale or minimum at byte %i that is not finite",
    async (type, at, infinite) => {
      const { bytes } = makeBlocks(type, 2);
      bytes.set(infinite, at);
      await expect(backend.loadMatrix(sourceOf(bytes, type), type)).rejects.toMatchObject({
        code: "WEIGHTS_NOT_FINITE",
        message: expect.stringContaining("row 0"),
      });
    },
  );

  test("blocks of one type are no matrix of another", async () => {
    const { bytes } = makeBlocks("q8", 4);
    await expect(backend.loadMatrix(sourceOf(bytes, "q8"), "q4")).rejects.toThrow(/blocks/);
  });
});
