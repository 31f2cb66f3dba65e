// Packed weights out of and into wasm memory, as they are. What they mean is said by `packedLayout`.
import type { Matrix } from "../backend.ts";
import type { Holding, Packing } from "../packing.ts";
import type { Arena } from "./arena.ts";
import type { HandleRegistry, WasmMatrix } from "./handles.ts";
import { PACKED_VERSION, packedBytes, packedLayout, storageOf } from "./layout.ts";

export class WasmPacking implements Packing {
  readonly version: number = PACKED_VERSION;
  readonly #arena: Arena;
  readonly #handles: HandleRegistry;
  readonly #isRelaxed: boolean;
  readonly #allocate: (rows: number, cols: number, holding: Holding) => WasmMatrix;

  /** @param allocate makes room for a matrix, or says why it cannot */
  constructor(
    arena: Arena,
    handles: HandleRegistry,
    isRelaxed: boolean,
    allocate: (rows: number, cols: number, holding: Holding) => WasmMatrix,
  ) {
    this.#arena = arena;
    this.#handles = handles;
    this.#isRelaxed = isRelaxed;
    this.#allocate = allocate;
  }

  layout(holding: Holding): string {
    return packedLayout(storageOf(holding), this.#isRelaxed);
  }

  nBytes(holding: Holding, rows: number, cols: number): number {
    return packedBytes(storageOf(holding), rows, cols);
  }

  reserve(nBytes: number): void {
    this.#arena.reserve(nBytes);
  }

  bytes(matrix: Matrix): Uint8Array {
    const { offset, nBytes } = this.#handles.get(matrix);
    return this.#arena.u8.subarray(offset, offset + nBytes);
  }

  async load(
    holding: Holding,
    rows: number,
    cols: number,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<Matrix> {
    const matrix = this.#allocate(rows, cols, holding);
    try {
      let done = 0;
      for await (const piece of pieces) {
        if (done + piece.length > matrix.nBytes) throw new Error("more bytes than the matrix has");
        this.#arena.u8.set(piece, matrix.offset + done);
        done += piece.length;
      }
      if (done < matrix.nBytes) throw new Error("fewer bytes than the matrix has");
    } catch (error) {
      this.#arena.free(matrix.offset);
      throw error;
    }
    return this.#handles.add(matrix);
  }
}
