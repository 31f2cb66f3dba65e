// Brings matrices into slabs: reads rows in pieces, packs them, writes them. A matrix too large for one slab lies in parts.
import { toFloat32 } from "../../formats/float.ts";
import type { MatrixSource, WeightType } from "../backend.ts";
import { checkBlockType, isBlockDType, rowBytes } from "../block-rows.ts";
import { checkFinite } from "../check-finite.ts";
import { createQuantizedRows } from "../quantize.ts";
import { unpackBlocks } from "../unpack-blocks.ts";
import type { MatrixPart } from "./handles.ts";
import { packedBytes, rowsWithin, type Storage } from "./layout.ts";
import type { BufferSource, Place, Slabs } from "./memory.ts";
import { type Piece, packHalves, packQuantized, packRows } from "./pack.ts";

/** As a file has its floats, unless they are to be quantized. */
export function storageOf({ dtype }: MatrixSource, type: WeightType): Storage {
  if (type !== "f32" || dtype === "F32") return type;
  return dtype === "F16" ? "f16" : "bf16";
}

/** Bytes that one read of a source asks for, about. */
const PIECE_BYTES = 1 << 22;

export class WeightLoader {
  readonly #source: BufferSource;
  readonly #slabs: Slabs;
  readonly #weightless: boolean;
  readonly #beforeWrite: () => void;
  #last: { rows: number; cols: number; buffer: GPUBuffer } | undefined;

  /**
   * @param weightless matrices get their place, but are not read
   * @param beforeWrite submits what is recorded, since it may still use a place; throws if the backend is dead
   */
  constructor(source: BufferSource, slabs: Slabs, weightless: boolean, beforeWrite: () => void) {
    this.#source = source;
    this.#slabs = slabs;
    this.#weightless = weightless;
    this.#beforeWrite = beforeWrite;
  }

  /** @throws TureenError `WEIGHTS_NOT_FINITE`, `OUT_OF_MEMORY`; nothing is left allocated */
  async load(source: MatrixSource, storage: Storage): Promise<MatrixPart[]> {
    const { name, rows, cols, dtype } = source;
    if (isBlockDType(dtype)) checkBlockType(name, dtype, storage);
    const most = rowsWithin(storage, cols, this.#slabs.limit);
    const parts: MatrixPart[] = [];
    try {
      for (let row0 = 0; row0 < rows; row0 += most) {
        const n = Math.min(most, rows - row0);
        const part = { ...this.#place(storage, n, cols), row0, rows: n };
        parts.push(part);
        if (!this.#weightless) await this.#loadPart(source, storage, part);
      }
      await this.#source.settle();
    } catch (error) {
      for (const part of parts) this.#slabs.free(part);
      throw error;
    }
    return parts;
  }

  /**
   * Products with one input (q, k, v; gate, up) are one dispatch if their weights share a slab. They are loaded one after another,
   * none larger than the first: so the first looks for room for all, and the others follow it.
   */
  #place(storage: Storage, rows: number, cols: number): Place {
    const nBytes = packedBytes(storage, rows, cols);
    const last = this.#last;
    const follows = last !== undefined && last.cols === cols && rows <= last.rows;
    const count = rows > cols ? 2 : 3; // gate and up are tall, q, k and v are not
    const room = follows ? nBytes : count * (nBytes + 256);
    const place = this.#slabs.allocate(nBytes, room, follows ? last.buffer : undefined);
    this.#last = { rows, cols, buffer: place.buffer };
    return place;
  }

  async #loadPart(source: MatrixSource, storage: Storage, part: MatrixPart): Promise<void> {
    const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes(source.dtype, source.cols)));
    for (let row = 0; row < part.rows; row += step) {
      const n = Math.min(step, part.rows - row);
      const file = await source.read(part.row0 + row, n);
      const pieces = packPiece(source, storage, part, file, row, n);
      this.#beforeWrite();
      for (const { offset, bytes } of pieces) {
        this.#source.device.queue.writeBuffer(part.buffer, part.offset + offset, bytes);
      }
    }
  }
}

/** Rows row.. of a part, as the file has them. @throws TureenError `WEIGHTS_NOT_FINITE` */
function packPiece(
  { name, cols, dtype }: MatrixSource,
  storage: Storage,
  part: MatrixPart,
  file: Uint8Array,
  row: number,
  n: number,
): Piece[] {
  if (isBlockDType(dtype)) {
    const rows = createQuantizedRows(n, cols, dtype === "Q8" ? "q8" : "q4");
    unpackBlocks(name, file, rows, part.row0 + row);
    return packQuantized(rows, row, part.rows);
  }
  const values = toFloat32(file, dtype);
  if (values.length !== n * cols) {
    throw new Error(`${name}: ${n} rows came as ${values.length} numbers`);
  }
  checkFinite(name, values, cols, part.row0 + row);
  return storage === "f16" || storage === "bf16"
    ? [packHalves(file, row, n, cols)]
    : packRows(storage, values, row, n, part.rows, cols);
}
