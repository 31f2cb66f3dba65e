// Packed weights out of and into wasm memory, as they are. What they mean is said by `packedLayout`.
import type { Matrix, WeightType } from "../backend.ts";
import type { Packing } from "../packing.ts";
import type { Arena } from "./arena.ts";
import type { HandleRegistry, WasmMatrix } from "./handles.ts";
import { PACKED_VERSION, packedBytes, packedLayout } from "./layout.ts";

export class WasmPacking implements Packing {
  readonly version: number = PACKED_VERSION;
  readonly nBytes: Packing["nBytes"] = packedBytes;
  readonly #arena: Arena;
  readonly #handles: HandleRegistry;
  readonly #isRelaxed: boolean;
  readonly #allocate: (rows: number, cols: number, type: WeightType) => WasmMatrix;

  /** @param allocate makes room for a matrix, or says why it cannot */
  constructor(
    arena: Arena,
    handles: HandleRegistry,
    isRelaxed: boolean,
    allocate: (rows: number, cols: number, type: WeightType) => WasmMatrix,
  ) {
    this.#arena = arena;
    this.#handles = handles;
    this.#isRelaxed = isRelaxed;
    this.#allocate = allocate;
  }

  layout(type: WeightType): string {
    return packedLayout(type, this.#isRelaxed);
  }

  reserve(nBytes: number): void {
    this.#arena.reserve(nBytes);
  }

  bytes(matrix: Matrix): Uint8Array {
    const { offset, nBytes } = this.#handles.get(matrix);
    return this.#arena.u8.subarray(offset, offset + nBytes);
  }

  async load(
    type: WeightType,
    rows: number,
    cols: number,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<Matrix> {
    const matrix = this.#allocate(rows, cols, type);
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
