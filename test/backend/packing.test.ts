// Packed weights as bytes: out of a backend and into another one, the same bits; and what a cache of them relies on, that a layout
// of one name and version never changes.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Backend, Matrix, WeightType } from "../../src/backend/backend.ts";
import { createWasmBackend } from "../../src/backend/wasm/create.ts";
import { fromFloat32 } from "../../src/formats/float.ts";
import { wasmBackends } from "../support/backends.ts";

const HOLDINGS = [
  { type: "f32", dtype: "F32" },
  { type: "f32", dtype: "F16" },
  { type: "f32", dtype: "BF16" },
  { type: "q8", dtype: "F32" },
  { type: "q4", dtype: "BF16" },
] as const satisfies readonly { type: WeightType; dtype: string }[];
type Holding = (typeof HOLDINGS)[number];

/** No multiple of a tile or a block. */
const ROWS = 43;
const COLS = 83;

/** Integers of 8 bits, and their halves: exact in every type of float. */
const values: Float32Array = Float32Array.from(
  { length: ROWS * COLS },
  (_, i) => ((((i * 2654435761) >>> 7) % 511) - 255) / 2,
);

function pack(backend: Backend, { type, dtype }: Holding): Promise<Matrix> {
  const read = async (row: number, n: number) =>
    fromFloat32(values.slice(row * COLS, (row + n) * COLS), dtype);
  return backend.loadMatrix({ name: "w", rows: ROWS, cols: COLS, dtype, read }, type);
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

async function product(backend: Backend, weight: Matrix): Promise<Float32Array> {
  const [x, out] = [backend.createTensor(2, COLS), backend.createTensor(2, ROWS)];
  backend.embed(x, weight, [3, 42]);
  backend.linear(x, 2, [{ out, weight, bank: [] }]);
  return backend.read(out, 0, 2);
}

/** A change of these without a new PACKED_VERSION would give readers of a cache wrong weights. */
const PINNED: Readonly<Record<string, string>> = {
  "wasm f32, version 2": "cc486c4e62a1b87d",
  "wasm f16, version 2": "51f7ad8490044873",
  "wasm bf16, version 2": "70b6c5bc7b630d06",
  "wasm q8, version 2": "4adca17404482ca7",
  "wasm q4, version 2": "c8041651bed9546d",
  "wasm q4 relaxed, version 2": "f0cfb1087ee3f2bf",
};

describe.each(wasmBackends)("$name", ({ create, unavailable }) => {
  test.skipIf(unavailable !== undefined).each(HOLDINGS)(
    "$type from $dtype comes back the same",
    async (holding) => {
      const [backend, other] = [await create(), await create()];
      const packing = backend.packing!;
      // Memory that held something else before.
      backend.free(backend.loadVector("dirt", new Float32Array(300 * 300).fill(7)));
      const weight = await pack(backend, holding);
      const bytes = packing.bytes(weight).slice();
      expect(bytes.length).toBe(packing.nBytes(holding, ROWS, COLS));
      expect(bytes.length).toBe(weight.nBytes);
      const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
      const layout = `${packing.layout(holding)}, version ${packing.version}`;
      expect({ layout, hash }).toEqual({ layout, hash: PINNED[layout] });

      const again = await other.packing!.load(holding, ROWS, COLS, inPieces(bytes));
      expect({ ...again, offset: 0 }).toEqual({ ...weight, offset: 0 });
      expect(await product(other, again)).toEqual(await product(backend, weight));
      // It is a matrix like any other.
      await other.replaceMatrix(again, {
        name: "w",
        rows: ROWS,
        cols: COLS,
        dtype: "F32",
        read: async (_, n) => new Uint8Array(n * COLS * 4),
      });
      expect((await product(other, again)).every((value) => value === 0)).toBe(true);
      expect(again.nBytes).toBe(other.packing!.nBytes({ ...holding, dtype: "F32" }, ROWS, COLS));
      await backend.dispose();
      await other.dispose();
    },
  );
});

test("pieces that do not fill the matrix, or fail: nothing stays allocated", async () => {
  const backend = await createWasmBackend({ build: "baseline", threads: 1 });
  const packing = backend.packing!;
  const q8 = { type: "q8", dtype: "F32" } as const;
  const nBytes = packing.nBytes(q8, ROWS, COLS);
  const load = (n: number) => packing.load(q8, ROWS, COLS, inPieces(new Uint8Array(n)));
  const free = await load(nBytes);
  const { offset } = free as Matrix & { offset: number };
  backend.free(free);
  await expect(load(nBytes - 1)).rejects.toThrow("fewer bytes");
  await expect(load(nBytes + 1)).rejects.toThrow("more bytes");
  // biome-ignore lint/correctness/useYield: it fails
  const failing = async function* (): AsyncGenerator<Uint8Array> {
    throw new Error("cut");
  };
  await expect(packing.load(q8, ROWS, COLS, failing())).rejects.toThrow("cut");
  expect(await load(nBytes)).toMatchObject({ offset });
  await backend.dispose();
});
