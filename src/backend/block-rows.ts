// Rows of a file that are quantized already, in the plainest layout of each weight type. Backends pack them as they are: no number is
// rounded anew. Columns come in whole blocks of 32.
//
//   Q8  per block: f32 scale, 32 int8                                                         36 bytes
//   Q4  per block: bf16 scale, bf16 minimum, 16 bytes: column j in the low half, j + 16 in the high  20 bytes

/** Element types of rows that are blocks. */
export type BlockDType = "Q8" | "Q4";

export const BLOCK_BYTES: Readonly<Record<BlockDType, number>> = { Q8: 36, Q4: 20 };

export function isBlockDType(dtype: string): dtype is BlockDType {
  return dtype === "Q8" || dtype === "Q4";
}

/** Bytes of a row. */
export function rowBytes(dtype: "F32" | "F16" | "BF16" | BlockDType, cols: number): number {
  if (isBlockDType(dtype)) return (cols / 32) * BLOCK_BYTES[dtype];
  return cols * (dtype === "F32" ? 4 : 2);
}

/** Blocks become matrices of their own type only. */
export function checkBlockType(name: string, dtype: BlockDType, type: string): void {
  if (dtype.toLowerCase() !== type) throw new Error(`${name}: ${dtype} blocks as ${type}`);
}
