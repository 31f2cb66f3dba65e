// A checkpoint is named tensors in one or more files, read lazily by range. Every weight format (safetensors, GGUF) opens into
// this contract, under transformers' names and in its order of rows, so nothing above knows the file format.
import type { ReadOptions } from "../sources/source.ts";

/** Element types that tensors can have in a file, by safetensors' names. */
export type DType =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "F8_E4M3"
  | "F8_E5M2"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** How a file holds a tensor that it holds quantized. */
export interface StoredType {
  /** The file's name for it, e.g. `Q4_K`. */
  readonly type: string;
  /** In the file. */
  readonly nBytes: number;
  /** What a backend holds it as, if it is to be held as in the file. */
  readonly held: "q8" | "q4";
  /** Whether `readBlocks` gives it as that type, without rounding its numbers anew. */
  readonly hasBlocks: boolean;
}

/** What the header says of one tensor. */
export interface TensorInfo {
  readonly name: string;
  /** As it is read: F32 if the file holds it quantized. */
  readonly dtype: DType;
  /** Row-major. */
  readonly shape: readonly number[];
  /** As it is read. */
  readonly nBytes: number;
  readonly stored?: StoredType | undefined;
  /** The file that holds it, for messages. */
  readonly file: string;
}

export interface Checkpoint {
  /** For messages. */
  readonly name: string;
  /** In the order in which they lie in the file: reading them so keeps step with a download. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  /** As `ByteSource.identity`, of all files. */
  readonly identity?: string | undefined;
  /**
   * Reads bytes of one tensor, little-endian and row-major.
   * @param offset in bytes from the tensor's start, default 0
   * @param nBytes default: to the tensor's end
   */
  read(name: string, offset?: number, nBytes?: number, options?: ReadOptions): Promise<Uint8Array>;
  /**
   * Rows of a tensor that `hasBlocks`, as the blocks of its type `held` (backend/block-rows.ts).
   * @throws as `read`
   */
  readBlocks?(
    name: string,
    rowStart: number,
    nRows: number,
    options?: ReadOptions,
  ): Promise<Uint8Array>;
  /** As `ByteSource.settle`, of all files. */
  settle?(): Promise<void>;
  close(): Promise<void>;
}
