// Packed weights as bytes, as far as the backend can: an optional part of the contract, so that what was packed once can be kept
// and come back without being packed anew. The rules of backend.ts hold.
import type { Matrix, WeightType } from "./backend.ts";

export interface Packing {
  /** Rises with every change of which bytes weights are packed to. */
  readonly version: number;
  /** Names how a type's weights lie in memory: bytes of one layout mean nothing in another. Equal weights give equal bytes. */
  layout(type: WeightType): string;
  /** Bytes of a packed matrix [rows, cols]. */
  nBytes(type: WeightType, rows: number, cols: number): number;
  /**
   * Makes room for weights of so many bytes at once, so that memory need not grow with each, and a model that does not fit is
   * refused before it is read.
   * @throws TureenError `OUT_OF_MEMORY`
   */
  reserve(nBytes: number): void;
  /** What a matrix is packed to. A view that is good until memory is next allocated. */
  bytes(matrix: Matrix): Uint8Array;
  /**
   * A matrix from what it was packed to, which the caller vouches for.
   * @param pieces its bytes, in order
   * @throws TureenError `OUT_OF_MEMORY`, and what `pieces` throws; nothing is left allocated
   */
  load(
    type: WeightType,
    rows: number,
    cols: number,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<Matrix>;
}

/** Bytes of tensors as they are held: matrices [rows, cols] packed, vectors [length] f32. */
export function packedSize(
  packing: Packing,
  tensors: Iterable<{ readonly shape: readonly number[]; readonly type: WeightType }>,
): number {
  let sum = 0;
  for (const { shape, type } of tensors) {
    const [rows, cols] = shape as [number, number?];
    sum += cols === undefined ? 4 * rows : packing.nBytes(type, rows, cols);
  }
  return sum;
}
