// Metadata values of a GGUF file. Lists (a vocabulary has a hundred thousand words) are stepped over when the header is read, and
// decoded when they are asked for.
import { TureenError } from "../../errors.ts";
import { Cursor, decodeUtf8 } from "./cursor.ts";

/** 64-bit integers beyond ±2^53 are rounded. */
export type MetadataValue = number | boolean | string | MetadataList;

const ARRAY = 9;
const STRING = 8;
/** Lists of lists of lists: the format allows any depth, files use one. */
const MAX_DEPTH = 4;

interface Scalar {
  readonly bytes: number;
  read(cursor: Cursor): number | boolean;
}

const SCALARS: Readonly<Record<number, Scalar>> = {
  0: { bytes: 1, read: (cursor) => cursor.u8() },
  1: { bytes: 1, read: (cursor) => cursor.i8() },
  2: { bytes: 2, read: (cursor) => cursor.u16() },
  3: { bytes: 2, read: (cursor) => cursor.i16() },
  4: { bytes: 4, read: (cursor) => cursor.u32() },
  5: { bytes: 4, read: (cursor) => cursor.i32() },
  6: { bytes: 4, read: (cursor) => cursor.f32() },
  7: { bytes: 1, read: (cursor) => cursor.u8() !== 0 },
  10: { bytes: 8, read: (cursor) => cursor.u64() },
  11: { bytes: 8, read: (cursor) => cursor.i64() },
  12: { bytes: 8, read: (cursor) => cursor.f64() },
};

/** A list, still as bytes. */
export class MetadataList {
  readonly length: number;
  readonly #type: number;
  /** Of its items. */
  readonly #bytes: Uint8Array;
  readonly #from: Cursor;

  constructor(type: number, length: number, bytes: Uint8Array, from: Cursor) {
    this.length = length;
    this.#type = type;
    this.#bytes = bytes;
    this.#from = from;
  }

  /** Its strings; `undefined` if it holds something else. @throws TureenError `FORMAT_INVALID` if one is not UTF-8 */
  strings(): string[] | undefined {
    if (this.#type !== STRING) return undefined;
    const cursor = this.#open();
    return Array.from({ length: this.length }, () => cursor.text(this.#bytes.length, "string"));
  }

  /** Its numbers; `undefined` if it holds something else. */
  numbers(): number[] | undefined {
    const scalar = SCALARS[this.#type];
    if (scalar === undefined) return undefined;
    const cursor = this.#open();
    return Array.from({ length: this.length }, () => Number(scalar.read(cursor)));
  }

  #open(): Cursor {
    const { file, hasShortCounts } = this.#from;
    const { length } = this.#bytes;
    const cursor = new Cursor(this.#bytes, { fileBytes: length, maxBytes: length, file });
    cursor.hasShortCounts = hasShortCounts;
    return cursor;
  }
}

/**
 * Reads a value's type and the value.
 * @throws TureenError `FORMAT_INVALID`; EndOfBuffer
 */
export function readValue(cursor: Cursor, key: string): MetadataValue {
  const type = cursor.u32();
  const scalar = SCALARS[type];
  if (scalar !== undefined) return scalar.read(cursor);
  if (type === STRING) return readText(cursor, key);
  if (type !== ARRAY) throw unknownType(cursor, key, type);
  const of = cursor.u32();
  const length = cursor.count();
  const start = cursor.at;
  skipItems(cursor, of, length, key, 1);
  return new MetadataList(of, length, cursor.bytes.subarray(start, cursor.at), cursor);
}

function readText(cursor: Cursor, key: string): string {
  const start = cursor.skip(cursor.count());
  const bytes = cursor.bytes.subarray(start, cursor.at);
  try {
    return decodeUtf8(bytes);
  } catch (cause) {
    const details = { where: `${key} in ${cursor.file}` };
    throw new TureenError("FORMAT_INVALID", "a metadata value is not UTF-8", details, { cause });
  }
}

/** Every item takes at least a byte of the file, so the file bounds the work. */
function skipItems(cursor: Cursor, type: number, length: number, key: string, depth: number): void {
  const scalar = SCALARS[type];
  if (scalar !== undefined) {
    cursor.skip(scalar.bytes * length);
    return;
  }
  if (type === STRING) {
    for (let i = 0; i < length; i++) cursor.skip(cursor.count());
    return;
  }
  if (type !== ARRAY) throw unknownType(cursor, key, type);
  if (depth === MAX_DEPTH) {
    throw new TureenError("FORMAT_INVALID", "a metadata value is nested too deeply", {
      expected: `at most ${MAX_DEPTH} lists in each other`,
      where: `${key} in ${cursor.file}`,
    });
  }
  for (let i = 0; i < length; i++) {
    const of = cursor.u32();
    skipItems(cursor, of, cursor.count(), key, depth + 1);
  }
}

function unknownType(cursor: Cursor, key: string, type: number): TureenError {
  return new TureenError("FORMAT_INVALID", "a metadata value has an unknown type", {
    expected: "a type from 0 to 12",
    found: String(type),
    where: `${key} in ${cursor.file}`,
  });
}
