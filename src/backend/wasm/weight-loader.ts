// Brings weights into packed form: reads rows in pieces, and all threads convert and pack each piece while the next is being
// read. Owns the staging memory between file and packed weights.
import type { MatrixSource } from "../backend.ts";
import { BLOCK_BYTES } from "../block-rows.ts";
import { notFinite } from "../check-finite.ts";
import type { Arena } from "./arena.ts";
import { type CommandList, Op } from "./commands.ts";
import { align, BLOCK, packedBytes, type Storage } from "./layout.ts";

/** As pack-weights.ts numbers them, and bytes of an element. */
const DTYPES = {
  F32: { code: 0, nBytes: 4 },
  F16: { code: 1, nBytes: 2 },
  BF16: { code: 2, nBytes: 2 },
  Q8: { code: 3, nBytes: BLOCK_BYTES.Q8 / BLOCK },
  Q4: { code: 4, nBytes: BLOCK_BYTES.Q4 / BLOCK },
};

/** Bytes read at a time, per thread: large enough for the disk, small beside any model. */
const PIECE_BYTES = 1 << 20;
const MAX_PIECE_BYTES = 8 << 20;

/** Memory for one piece. */
interface Staging {
  readonly offset: number;
  /** Where threads note a row that is not finite, 4 bytes each. */
  readonly failures: number;
  /** A row of f32 per thread. */
  readonly scratch: number;
}

export class WeightLoader {
  readonly #arena: Arena;
  readonly #commands: CommandList;
  readonly #threads: number;
  readonly #pieceBytes: number;
  readonly #run: () => void;
  /** Memory of reads that are over: fresh memory for every piece took a third of a load. */
  #spare: Uint8Array[] = [];

  /** @param run runs the recorded commands */
  constructor(arena: Arena, commands: CommandList, threads: number, run: () => void) {
    this.#arena = arena;
    this.#commands = commands;
    this.#threads = threads;
    this.#pieceBytes = Math.min(PIECE_BYTES * threads, MAX_PIECE_BYTES);
    this.#run = run;
  }

  /**
   * Packs a whole matrix at `offset`, which has room for `packedBytes`.
   * @param storage as `storageOf` has it for the source
   * @throws TureenError `WEIGHTS_NOT_FINITE`
   */
  async load(source: MatrixSource, storage: Storage, offset: number): Promise<void> {
    const { rows } = source;
    const step = this.#rowsPerPiece(source);
    const staging = this.#stage(source, Math.min(step, rows));
    const [even, odd] = [this.#room(source, step), this.#room(source, step)];
    try {
      let next = source.read(0, Math.min(step, rows), even);
      for (let row = 0, piece = 1; row < rows; row += step, piece++) {
        const nRows = Math.min(step, rows - row);
        const bytes = await next;
        if (row + step < rows) {
          const into = piece % 2 === 0 ? even : odd;
          next = source.read(row + step, Math.min(step, rows - row - step), into);
          // If packing this piece fails, the one under way has nobody left to report to.
          next.catch(() => undefined);
        }
        this.#pack(source, storage, offset, row, nRows, bytes, staging);
      }
      this.#spare.push(even, odd); // not after a failure: a read may still be under way
    } finally {
      this.#arena.free(staging.offset);
    }
  }

  /** As `load`, for f32 values at hand. */
  loadValues(
    name: string,
    values: Float32Array,
    rows: number,
    cols: number,
    storage: Exclude<Storage, "f16" | "bf16">,
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
        this.#pack(source, storage, offset, row, nRows, bytes, staging);
      }
    } finally {
      this.#arena.free(staging.offset);
    }
  }

  /** Memory for a piece of `rows` rows. */
  #room({ cols, dtype }: Omit<MatrixSource, "read">, rows: number): Uint8Array {
    const nBytes = rows * cols * DTYPES[dtype].nBytes;
    const spare = this.#spare.pop();
    if (spare !== undefined && spare.length >= nBytes) return spare;
    return new Uint8Array(Math.max(nBytes, this.#pieceBytes));
  }

  #rowsPerPiece({ cols, dtype }: Omit<MatrixSource, "read">): number {
    return Math.max(8, Math.floor(this.#pieceBytes / (cols * DTYPES[dtype].nBytes)) & ~7);
  }

  #stage({ cols, dtype }: Omit<MatrixSource, "read">, nRows: number): Staging {
    const rows = align(nRows * cols * DTYPES[dtype].nBytes);
    const marks = align(this.#threads * 4);
    const scratch = this.#threads * Math.ceil(cols / 32) * 32 * 4;
    const offset = this.#arena.allocate(rows + marks + scratch);
    return { offset, failures: offset + rows, scratch: offset + rows + marks };
  }

  #pack(
    { name, cols, dtype }: Omit<MatrixSource, "read">,
    storage: Storage,
    offset: number,
    row: number,
    nRows: number,
    piece: Uint8Array,
    staging: Staging,
  ): void {
    this.#arena.u8.set(piece, staging.offset);
    const failures = this.#arena.i32.subarray(
      staging.failures / 4,
      staging.failures / 4 + this.#threads,
    );
    failures.fill(-1);
    this.#commands.push(
      Op.packWeights[storage],
      offset + packedBytes(storage, row, cols),
      staging.offset,
      DTYPES[dtype].code,
      nRows,
      cols,
      staging.scratch,
      staging.failures,
    );
    this.#run();
    // Threads take rows in order: the first that found one found the first.
    const bad = failures.find((at) => at >= 0);
    if (bad === undefined) return;
    throw notFinite(name, `row ${row + bad}`);
  }
}
