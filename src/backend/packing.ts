// Packed weights as bytes, as far as the backend can: an optional part of the contract, so that what was packed once can be kept
// and come back without being packed anew. The rules of backend.ts hold.
import type { Matrix, WeightType } from "./backend.ts";

/** How a tensor is to be held, and what its file has: 16-bit floats held as `f32` may stay what they are. */
export interface Holding {
  readonly type: WeightType;
  readonly dtype: string;
}

export interface Packing {
  /** Rises with every change of which bytes weights are packed to. */
  readonly version: number;
  /** Names how weights lie in memory: bytes of one layout mean nothing in another. Equal weights give equal bytes. */
  layout(holding: Holding): string;
  /** Bytes of a packed matrix [rows, cols]. */
  nBytes(holding: Holding, rows: number, cols: number): number;
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
    holding: Holding,
    rows: number,
    cols: number,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<Matrix>;
}

/** Bytes of tensors as they are held: matrices [rows, cols] packed, vectors [length] f32. */
export function packedSize(
  packing: Packing,
  tensors: Iterable<Holding & { readonly shape: readonly number[] }>,
): number {
  let sum = 0;
  for (const tensor of tensors) {
    const [rows, cols] = tensor.shape as [number, number?];
    sum += cols === undefined ? 4 * rows : packing.nBytes(tensor, rows, cols);
  }
  return sum;
}
