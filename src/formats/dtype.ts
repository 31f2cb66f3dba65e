// Sizes of the element types, and the arithmetic of tensor sizes that no header can overflow.
import type { DType } from "./checkpoint.ts";

const BYTES: Readonly<Record<DType, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** Whether a header's word is an element type we know. */
export function isDType(word: unknown): word is DType {
  return typeof word === "string" && Object.hasOwn(BYTES, word);
}

/** Size of a tensor in bytes, or `undefined` if it exceeds 2^53. Dimensions are non-negative safe integers. */
export function tensorBytes(dtype: DType, shape: readonly number[]): number | undefined {
  let nBytes = BYTES[dtype];
  for (const dimension of shape) {
    nBytes *= dimension;
    if (!Number.isSafeInteger(nBytes)) return undefined;
  }
  return nBytes;
}

/** Whether a value is a dimension or an offset: a non-negative integer below 2^53. */
export function isIndex(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
