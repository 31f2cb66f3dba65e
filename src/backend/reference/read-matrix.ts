// Brings a matrix from its source into f32 or quantized rows, a piece at a time.
import { toFloat32 } from "../../formats/float.ts";
import type { MatrixSource, WeightType } from "../backend.ts";
import { checkBlockType, isBlockDType, rowBytes } from "../block-rows.ts";
import { checkFinite } from "../check-finite.ts";
import { createQuantizedRows, type QuantizedRows, quantizeRow } from "../quantize.ts";
import { unpackBlocks } from "../unpack-blocks.ts";
import { allocate } from "./allocate.ts";
import type { Rows } from "./handles.ts";

/** Bytes that one read of a source asks for, about. */
const PIECE_BYTES = 1 << 20;

/** Reads all rows in order. @throws TureenError `WEIGHTS_NOT_FINITE`, and what the source throws */
export async function readMatrix(source: MatrixSource, type: WeightType): Promise<Rows> {
  const { rows, cols, dtype } = source;
  const out = allocate(source.name, () =>
    type === "f32" ? new Float32Array(rows * cols) : createQuantizedRows(rows, cols, type),
  );
  if (isBlockDType(dtype)) checkBlockType(source.name, dtype, type);
  const step = Math.max(1, Math.floor(PIECE_BYTES / rowBytes(dtype, cols)));
  for (let start = 0; start < rows; start += step) {
    const n = Math.min(step, rows - start);
    const bytes = await source.read(start, n);
    if (isBlockDType(dtype)) {
      unpackBlocks(source.name, bytes, out as QuantizedRows, start, start);
      continue;
    }
    const piece = toFloat32(bytes, dtype);
    if (piece.length !== n * cols) {
      throw new Error(
        `${source.name}: rows ${start}..${start + n} came as ${piece.length} numbers`,
      );
    }
    checkFinite(source.name, piece, cols, start);
    if (out instanceof Float32Array) {
      out.set(piece, start * cols);
    } else {
      for (let i = 0; i < n; i++) quantizeRow(out, start + i, piece, i * cols);
    }
  }
  return out;
}
