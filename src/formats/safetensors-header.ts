// The header of a safetensors file: JSON that names tensors and where they lie. It comes from strangers, so every number is
// checked against the others and against the size of the file before anything is allocated.
// Format: u64 length, JSON, data (https://huggingface.co/docs/safetensors).
import { TureenError } from "../errors.ts";
import type { TensorInfo } from "./checkpoint.ts";
import { isDType, isIndex, tensorBytes } from "./dtype.ts";
import { findJsonKeyFault } from "./json-keys.ts";

/** The reference implementation's limit: a header is read whole, and must not be a way to make us allocate at will. */
export const MAX_HEADER_BYTES = 100_000_000;
/** { name: { shape: [ ... ] } } */
const MAX_HEADER_DEPTH = 3;

/** A tensor's entry in a header. */
export interface HeaderEntry extends TensorInfo {
  /** In bytes from the start of the data. */
  readonly begin: number;
}

export interface Header {
  /** In the order of their data. */
  readonly tensors: ReadonlyMap<string, HeaderEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Parses and checks a header.
 * @param json the header's bytes, without the length before them
 * @param dataBytes bytes after the header in the file
 * @param file for messages
 * @throws TureenError `FORMAT_INVALID`, and `FORMAT_UNSUPPORTED` for an unknown element type
 */
export function parseHeader(json: Uint8Array, dataBytes: number, file: string): Header {
  const root = parseObject(json, file);
  let metadata: Record<string, string> = {};
  const tensors = new Map<string, HeaderEntry>();
  for (const [name, entry] of Object.entries(root)) {
    if (name === "__metadata__") metadata = checkMetadata(entry, file);
    else tensors.set(name, checkEntry(name, entry, file));
  }
  const inOrder = checkLayout([...tensors.values()], dataBytes, file);
  return { tensors: new Map(inOrder.map((entry) => [entry.name, entry])), metadata };
}

function parseObject(json: Uint8Array, file: string): object {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(json);
  } catch (cause) {
    throw invalid("the header is not UTF-8", { where: file }, cause);
  }
  const fault = findJsonKeyFault(text, MAX_HEADER_DEPTH);
  if (fault?.kind === "duplicate") {
    throw invalid("the header names a key twice", { found: fault.key, where: file });
  }
  if (fault?.kind === "depth") {
    const found = `deeper nesting at byte ${fault.offset}`;
    throw invalid("the header is nested too deeply", { found, where: file });
  }
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch (cause) {
    const found = (cause as Error).message;
    throw invalid("the header is not JSON", { found, where: file }, cause);
  }
  if (isObject(root)) return root;
  throw invalid("the header is not a JSON object", { found: printable(root), where: file });
}

function checkMetadata(value: unknown, file: string): Record<string, string> {
  if (isObject(value) && Object.values(value).every((item) => typeof item === "string")) {
    return { ...value } as Record<string, string>;
  }
  throw invalid("the header's __metadata__ is not a map of strings", { where: file });
}

function checkEntry(name: string, entry: unknown, file: string): HeaderEntry {
  const where = `${name} in ${file}`;
  if (!isObject(entry)) {
    throw invalid("a tensor's entry is not an object", { found: printable(entry), where });
  }
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== "string") {
    throw invalid("a tensor has no dtype", { found: printable(dtype), where });
  }
  if (!isDType(dtype)) {
    throw new TureenError("FORMAT_UNSUPPORTED", "unknown element type", {
      found: printable(dtype),
      where,
    });
  }
  if (!Array.isArray(shape) || !shape.every(isIndex)) {
    const expected = "a list of integers from 0 to 2^53";
    throw invalid("a tensor's shape is not usable", { expected, found: printable(shape), where });
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isIndex)) {
    const expected = "[begin, end]";
    const found = printable(offsets);
    throw invalid("a tensor's data_offsets are not usable", { expected, found, where });
  }
  const [begin, end] = offsets as [number, number];
  const nBytes = tensorBytes(dtype, shape);
  if (nBytes === undefined || nBytes !== end - begin) {
    throw invalid("a tensor's data_offsets disagree with its shape", {
      expected: `${nBytes ?? "more than 2^53"} bytes for ${dtype} [${shape.join(", ")}]`,
      found: `${end - begin} bytes`,
      where,
    });
  }
  return { name, dtype, shape, nBytes, file, begin };
}

/** Tensors must tile the data: no overlap, no gap, nothing before or after. @returns them in order */
function checkLayout(
  entries: readonly HeaderEntry[],
  dataBytes: number,
  file: string,
): HeaderEntry[] {
  const sorted = entries.toSorted((a, b) => a.begin - b.begin || a.nBytes - b.nBytes);
  let end = 0;
  let previous: string | undefined;
  for (const { name, begin, nBytes } of sorted) {
    if (begin !== end) {
      const what = begin < end ? "two tensors overlap" : "there is a gap between tensors";
      throw invalid(what, {
        expected: `data from byte ${end}`,
        found: `data from byte ${begin}`,
        where: `${name}${previous === undefined ? "" : ` after ${previous}`} in ${file}`,
      });
    }
    end = begin + nBytes;
    previous = name;
  }
  if (end === dataBytes) return sorted;
  throw invalid(end > dataBytes ? "the file is truncated" : "the file has bytes of no tensor", {
    expected: `${end} bytes of data`,
    found: `${dataBytes} bytes`,
    where: file,
    ...(end > dataBytes ? { hint: "Download it again." } : {}),
  });
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A short form of a header's value for messages. */
function printable(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}

function invalid(
  what: string,
  details: { expected?: string; found?: string; where: string; hint?: string },
  cause?: unknown,
): TureenError {
  return new TureenError("FORMAT_INVALID", what, details, { cause });
}
