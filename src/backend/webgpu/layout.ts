// How matrices lie in GPU memory (shaders/README.md has the picture): planes that neighbouring threads read as neighbouring vec4.
import type { WeightType } from "../backend.ts";
import { BLOCK, blockCount } from "../quantize.ts";

export const VEC4 = 16;

/** How a matrix is held. 16-bit floats stay as their file has them: they mean the same `f32` numbers. */
export type Storage = WeightType | "f16" | "bf16";

/** Whether it is held in blocks, beside activations in int8. */
export function isQuantized(storage: Storage): storage is "q8" | "q4" {
  return storage === "q8" || storage === "q4";
}

/** How adapters beside it are held. */
export function bankType(storage: Storage): WeightType {
  return isQuantized(storage) ? storage : "f32";
}

/** Columns that one step of a shader takes: four floats, or a block. */
export function unitCols(storage: Storage): number {
  return isQuantized(storage) ? BLOCK : 4;
}

/** Units that hold `cols` columns. */
export function unitCount(storage: Storage, cols: number): number {
  return isQuantized(storage) ? blockCount(cols) : Math.ceil(cols / 4);
}

/** Units of one plane; of blocks, each is a vec4. */
export function planeSize(storage: Storage, rows: number, cols: number): number {
  return rows * unitCount(storage, cols);
}

/** Bytes of a unit: with q8 and q4, in all planes and the scales. */
const UNIT_BYTES = { f32: 16, f16: 8, bf16: 8, q8: 36, q4: 20 } as const;

/** Bytes of a matrix [rows, cols], as packed: whole vec4. */
export function packedBytes(storage: Storage, rows: number, cols: number): number {
  return Math.ceil((planeSize(storage, rows, cols) * UNIT_BYTES[storage]) / VEC4) * VEC4;
}

/** Most rows of a matrix that fit `limit` bytes. */
export function rowsWithin(storage: Storage, cols: number, limit: number): number {
  let rows = Math.floor(limit / (packedBytes(storage, 1024, cols) / 1024));
  while (packedBytes(storage, rows, cols) > limit) rows--;
  return rows;
}
