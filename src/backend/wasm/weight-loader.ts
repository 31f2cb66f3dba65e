// Brings weights into packed form: reads rows in pieces, converts and packs each piece while the next is being read. Owns the
// staging memory between file and packed weights.
import { TureenError } from "../../errors.ts";
import type { MatrixSource, WeightType } from "../backend.ts";
import type { Arena } from "./arena.ts";
import type { Kernels } from "./kernels.ts";
import { packedBytes } from "./layout.ts";

const DTYPES = {
  F32: { code: 0, nBytes: 4 },
  F16: { code: 1, nBytes: 2 },
  BF16: { code: 2, nBytes: 2 },
};

/** Bytes read at a time: large enough for the disk, small beside any model. */
const PIECE_BYTES = 1 << 20;

export class WeightLoader {
  readonly #arena: Arena;
  readonly #kernels: Kernels;

  constructor(arena: Arena, kernels: Kernels) {
    this.#arena = arena;
    this.#kernels = kernels;
  }

  /** Packs a whole matrix at `offset`, which has room for `packedBytes`. @throws TureenError `WEIGHTS_NOT_FINITE` */
  async load(source: MatrixSource, type: WeightType, offset: number): Promise<void> {
    const { rows } = source;
    const step = this.#rowsPerPiece(source);
    const staging = this.#stage(source, Math.min(step, rows));
    try {
      let next = source.read(0, Math.min(step, rows));
      for (let row = 0; row < rows; row += step) {
        const nRows = Math.min(step, rows - row);
        const piece = await next;
        if (row + step < rows) {
          next = source.read(row + step, Math.min(step, rows - row - step));
          // If packing this piece fails, the one under way has nobody left to report to.
          next.catch(() => undefined);
        }
        this.#pack(source, type, offset, row, nRows, piece, staging);
      }
    } finally {
      this.#arena.free(staging);
    }
  }

  /** As `load`, for f32 values at hand. */
  loadValues(
    name: string,
    values: Float32Array,
    rows: number,
    cols: number,
    type: WeightType,
    offset: number,
  ): void {
    const source = { name, rows, cols, dtype: "F32" as const };
    const step = this.#rowsPerPiece(source);
    const staging = this.#stage(source, Math.min(step, rows));
    try {
      for (let row = 0; row < rows; row += step) {
        const nRows = Math.min(step, rows - row);
        const piece = values.subarray(row * cols, (row + nRows) * cols);
        const bytes = new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
        this.#pack(source, type, offset, row, nRows, bytes, staging);
      }
    } finally {
      this.#arena.free(staging);
    }
  }

  #rowsPerPiece({ cols, dtype }: Omit<MatrixSource, "read">): number {
    return Math.max(8, Math.floor(PIECE_BYTES / (cols * DTYPES[dtype].nBytes)) & ~7);
  }

  /** Room for a piece, followed by the packer's scratch of 8 rows. */
  #stage({ cols, dtype }: Omit<MatrixSource, "read">, nRows: number): number {
    return this.#arena.allocate(nRows * cols * DTYPES[dtype].nBytes + 64 + 8 * (cols + 31) * 4);
  }

  #pack(
    { name, cols, dtype }: Omit<MatrixSource, "read">,
    type: WeightType,
    offset: number,
    row: number,
    nRows: number,
    piece: Uint8Array,
    staging: number,
  ): void {
    this.#arena.u8.set(piece, staging);
    const bad = this.#kernels[`pack_${type}`](
      offset + packedBytes(type, row, cols),
      staging,
      DTYPES[dtype].code,
      nRows,
      cols,
      Math.ceil((staging + piece.byteLength) / 64) * 64,
    );
    if (bad >= 0) {
      throw new TureenError("WEIGHTS_NOT_FINITE", `tensor ${name} holds NaN or infinity`, {
        where: `row ${row + bad}`,
        hint: "The file is damaged, or training diverged; get another copy.",
      });
    }
  }
}
