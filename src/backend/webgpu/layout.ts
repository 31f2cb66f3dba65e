// How matrices lie in GPU memory (shaders/README.md has the picture): planes that neighbouring threads read as neighbouring vec4.
import type { WeightType } from "../backend.ts";
import { BLOCK, blockCount } from "../quantize.ts";

export const VEC4 = 16;

/** Columns that one step of a shader takes: a vec4 of f32, or a block. */
export function unitCols(type: WeightType): number {
  return type === "f32" ? 4 : BLOCK;
}

/** Units that hold `cols` columns. */
export function unitCount(type: WeightType, cols: number): number {
  return type === "f32" ? Math.ceil(cols / 4) : blockCount(cols);
}

/** Bytes of the scales behind the planes, whole vec4. */
function scaleBytes(type: WeightType, units: number): number {
  if (type === "f32") return 0;
  return Math.ceil((units * (type === "q8" ? 4 : 8)) / VEC4) * VEC4;
}

/** vec4 from one plane to the next, or to the scales. */
export function planeSize(type: WeightType, rows: number, cols: number): number {
  return rows * unitCount(type, cols);
}

/** Bytes of a matrix [rows, cols], as packed. */
export function packedBytes(type: WeightType, rows: number, cols: number): number {
  const plane = planeSize(type, rows, cols);
  return plane * VEC4 * (type === "q8" ? 2 : 1) + scaleBytes(type, plane);
}

/** Most rows of a matrix that fit `limit` bytes. */
export function rowsWithin(type: WeightType, cols: number, limit: number): number {
  let rows = Math.floor(limit / (packedBytes(type, 1024, cols) / 1024));
  while (packedBytes(type, rows, cols) > limit) rows--;
  return rows;
}
