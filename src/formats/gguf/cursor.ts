// Reads the beginning of a GGUF file value by value. Owns the bounds: nothing is read behind the buffer, and nothing may lie
// behind the file's end or the header's limit.
import { TureenError } from "../../errors.ts";

/** The header goes on behind the bytes that are there. */
export class EndOfBuffer {
  /** Bytes that are needed at least, from the beginning of the file. */
  readonly needed: number;
  constructor(needed: number) {
    this.needed = needed;
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** @throws TypeError if it is not UTF-8 */
export function decodeUtf8(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

export class Cursor {
  /** In bytes from the beginning of the file. */
  at = 0;
  /** Version 1 has counts and lengths of 32 bits, later ones of 64. */
  hasShortCounts = false;
  readonly bytes: Uint8Array;
  readonly file: string;
  readonly #view: DataView;
  readonly #fileBytes: number;
  readonly #maxBytes: number;

  constructor(
    bytes: Uint8Array,
    limits: { readonly fileBytes: number; readonly maxBytes: number; readonly file: string },
  ) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileBytes = limits.fileBytes;
    this.#maxBytes = limits.maxBytes;
    this.file = limits.file;
  }

  /**
   * Steps over bytes. @returns where they begin
   * @throws TureenError `FORMAT_INVALID` if file or header cannot hold them; EndOfBuffer
   */
  skip(nBytes: number): number {
    const start = this.at;
    const end = start + nBytes;
    if (!(end <= this.#fileBytes)) {
      throw new TureenError("FORMAT_INVALID", "the file is truncated within its header", {
        expected: Number.isSafeInteger(end) ? `${end} bytes or more` : "far more bytes",
        found: `${this.#fileBytes} bytes`,
        where: this.file,
        hint: "Download it again.",
      });
    }
    if (end > this.#maxBytes) {
      throw new TureenError("FORMAT_INVALID", "the header is too large", {
        expected: `at most ${this.#maxBytes} bytes`,
        found: `${end} bytes or more`,
        where: this.file,
      });
    }
    if (end > this.bytes.length) throw new EndOfBuffer(end);
    this.at = end;
    return start;
  }

  u8(): number {
    return this.#view.getUint8(this.skip(1));
  }

  i8(): number {
    return this.#view.getInt8(this.skip(1));
  }

  u16(): number {
    return this.#view.getUint16(this.skip(2), true);
  }

  i16(): number {
    return this.#view.getInt16(this.skip(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4), true);
  }

  i32(): number {
    return this.#view.getInt32(this.skip(4), true);
  }

  f32(): number {
    return this.#view.getFloat32(this.skip(4), true);
  }

  f64(): number {
    return this.#view.getFloat64(this.skip(8), true);
  }

  /** Rounded beyond 2^53. */
  u64(): number {
    const at = this.skip(8);
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** Rounded beyond ±2^53. */
  i64(): number {
    const at = this.skip(8);
    return this.#view.getUint32(at, true) + this.#view.getInt32(at + 4, true) * 2 ** 32;
  }

  /** A count or length. */
  count(): number {
    return this.hasShortCounts ? this.u32() : this.u64();
  }

  /** @throws TureenError `FORMAT_INVALID` if it is longer than `maxBytes`, or not UTF-8 */
  text(maxBytes: number, what: string): string {
    const length = this.count();
    if (length > maxBytes) {
      throw new TureenError("FORMAT_INVALID", `a ${what} is too long`, {
        expected: `at most ${maxBytes} bytes`,
        found: `${length} bytes`,
        where: this.file,
      });
    }
    const start = this.skip(length);
    try {
      return decodeUtf8(this.bytes.subarray(start, this.at));
    } catch (cause) {
      const details = { where: `byte ${start} of ${this.file}` };
      throw new TureenError("FORMAT_INVALID", `a ${what} is not UTF-8`, details, { cause });
    }
  }
}
