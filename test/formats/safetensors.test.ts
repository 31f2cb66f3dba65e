import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import type { DType } from "../../src/formats/checkpoint.ts";
import { openSafetensors } from "../../src/formats/safetensors.ts";
import {
  collectBytes,
  safetensorsSize,
  type TensorToWrite,
  writeSafetensors,
} from "../../src/formats/safetensors-writer.ts";
import { openMemory } from "../../src/sources/memory.ts";
import { failureOf } from "./failure.ts";

const text = new TextEncoder();

/** A file with this header, this much data, and a header length that may lie. */
function makeFile(header: string | Uint8Array, dataBytes = 0, headerBytes?: bigint): Uint8Array {
  const json = typeof header === "string" ? text.encode(header) : header;
  const file = new Uint8Array(8 + json.byteLength + dataBytes);
  new DataView(file.buffer).setBigUint64(0, headerBytes ?? BigInt(json.byteLength), true);
  file.set(json, 8);
  return file;
}

function entry(dtype: string, shape: unknown, begin: unknown, end: unknown): object {
  return { dtype, shape, data_offsets: [begin, end] };
}

const HTML = "<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>";
const LFS = `version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}\nsize 1044992\n`;
const bad: readonly (readonly [title: string, file: Uint8Array])[] = [
  ["an empty file", new Uint8Array(0)],
  ["a file of three bytes", new Uint8Array(3)],
  ["a Git LFS pointer", text.encode(LFS)],
  ["an HTML page", text.encode(HTML)],
  ["a PyTorch archive", Uint8Array.of(0x50, 0x4b, 3, 4, 0, 0, 0, 0, 0, 0)],
  ["a header longer than the file", makeFile("{}", 0, 99n)],
  ["a header over the limit", makeFile("{}", 0, 100_000_001n)],
  ["a header of 2^64 - 1 bytes", makeFile("{}", 0, 2n ** 64n - 1n)],
  ["a header that is not UTF-8", makeFile(Uint8Array.of(0x7b, 0xff, 0x7d))],
  ["a header that is not JSON", makeFile('{"a": ')],
  ["a header that is a list", makeFile("[]")],
  ["a header of zero bytes", makeFile("")],
  ["deep nesting", makeFile("[".repeat(100_000))],
  ["a name twice", makeFile(`{"a":${JSON.stringify(entry("F32", [1], 0, 4))},"\\u0061":0}`, 4)],
  [
    "a shape twice",
    makeFile('{"a":{"dtype":"U8","shape":[1],"shape":[2],"data_offsets":[0,2]}}', 2),
  ],
  ["metadata that is not strings", makeFile('{"__metadata__":{"a":1}}')],
  ["an entry that is a number", makeFile('{"a":1}')],
  ["an unknown type", makeFile(JSON.stringify({ a: entry("F4", [2], 0, 1) }), 1)],
  ["no type", makeFile(JSON.stringify({ a: { shape: [1], data_offsets: [0, 4] } }), 4)],
  ["no shape", makeFile(JSON.stringify({ a: { dtype: "F32", data_offsets: [0, 4] } }), 4)],
  ["a negative dimension", makeFile(JSON.stringify({ a: entry("F32", [-1, -1], 0, 4) }), 4)],
  ["a fractional dimension", makeFile(JSON.stringify({ a: entry("F32", [0.5, 2], 0, 4) }), 4)],
  ["a dimension that is a string", makeFile(JSON.stringify({ a: entry("F32", ["1"], 0, 4) }), 4)],
  [
    "a dimension of 2^64",
    makeFile('{"a":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}}', 4),
  ],
  [
    "dimensions whose product overflows",
    makeFile(JSON.stringify({ a: entry("F32", [2 ** 32, 2 ** 32], 0, 4) }), 4),
  ],
  ["one offset", makeFile('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}', 4)],
  ["a negative offset", makeFile(JSON.stringify({ a: entry("F32", [1], -4, 0) }), 4)],
  ["offsets in the wrong order", makeFile(JSON.stringify({ a: entry("F32", [1], 4, 0) }), 4)],
  [
    "offsets that disagree with the shape",
    makeFile(JSON.stringify({ a: entry("F32", [3], 0, 8) }), 8),
  ],
  [
    "overlap",
    makeFile(JSON.stringify({ a: entry("F32", [2], 0, 8), b: entry("F32", [1], 4, 8) }), 8),
  ],
  [
    "a gap",
    makeFile(JSON.stringify({ a: entry("F32", [1], 0, 4), b: entry("F32", [1], 8, 12) }), 12),
  ],
  ["a gap at the start", makeFile(JSON.stringify({ a: entry("F32", [1], 4, 8) }), 8)],
  ["missing data", makeFile(JSON.stringify({ a: entry("F32", [2], 0, 8) }), 7)],
  ["trailing data", makeFile(JSON.stringify({ a: entry("F32", [2], 0, 8) }), 9)],
];

test("bad files are refused, each for its reason", async () => {
  const messages: Record<string, string> = {};
  for (const [title, bytes] of bad) {
    const source = openMemory("model.safetensors", bytes);
    const close = vi.spyOn(source, "close");
    messages[title] = await failureOf(() => openSafetensors(source));
    expect(close, `${title}: the source is closed`).toHaveBeenCalledOnce();
  }
  expect(messages).toMatchInlineSnapshot(`
    {
      "a Git LFS pointer": "FORMAT_INVALID: this is not a safetensors file: expected a safetensors header, found a Git LFS pointer (model.safetensors). Fetch the real file with \`git lfs pull\`, or download it directly.",
      "a PyTorch archive": "FORMAT_INVALID: this is not a safetensors file: expected a safetensors header, found a ZIP archive (perhaps a PyTorch checkpoint) (model.safetensors). Unpack it, or convert the checkpoint to safetensors.",
      "a dimension of 2^64": "FORMAT_INVALID: a tensor's shape is not usable: expected a list of integers from 0 to 2^53, found [18446744073709552000] (a in model.safetensors)",
      "a dimension that is a string": "FORMAT_INVALID: a tensor's shape is not usable: expected a list of integers from 0 to 2^53, found ["1"] (a in model.safetensors)",
      "a file of three bytes": "FORMAT_INVALID: the file is truncated: expected at least 8 bytes, found 3 bytes (model.safetensors)",
      "a fractional dimension": "FORMAT_INVALID: a tensor's shape is not usable: expected a list of integers from 0 to 2^53, found [0.5,2] (a in model.safetensors)",
      "a gap": "FORMAT_INVALID: there is a gap between tensors: expected data from byte 4, found data from byte 8 (b after a in model.safetensors)",
      "a gap at the start": "FORMAT_INVALID: there is a gap between tensors: expected data from byte 0, found data from byte 4 (a in model.safetensors)",
      "a header longer than the file": "FORMAT_INVALID: the file is truncated within its header: expected 99 bytes of header, found 2 bytes (model.safetensors). Download it again.",
      "a header of 2^64 - 1 bytes": "FORMAT_INVALID: the header is too large: expected at most 100000000 bytes, found 18446744073709551615 bytes (model.safetensors). This is probably not a safetensors file.",
      "a header of zero bytes": "FORMAT_INVALID: the header is not JSON: found Unexpected end of JSON input (model.safetensors)",
      "a header over the limit": "FORMAT_INVALID: the header is too large: expected at most 100000000 bytes, found 100000001 bytes (model.safetensors). This is probably not a safetensors file.",
      "a header that is a list": "FORMAT_INVALID: the header is not a JSON object: found [] (model.safetensors)",
      "a header that is not JSON": "FORMAT_INVALID: the header is not JSON: found Unexpected end of JSON input (model.safetensors)",
      "a header that is not UTF-8": "FORMAT_INVALID: the header is not UTF-8 (model.safetensors)",
      "a name twice": "FORMAT_INVALID: the header names a key twice: found "a" (model.safetensors)",
      "a negative dimension": "FORMAT_INVALID: a tensor's shape is not usable: expected a list of integers from 0 to 2^53, found [-1,-1] (a in model.safetensors)",
      "a negative offset": "FORMAT_INVALID: a tensor's data_offsets are not usable: expected [begin, end], found [-4,0] (a in model.safetensors)",
      "a shape twice": "FORMAT_INVALID: the header names a key twice: found "shape" (model.safetensors)",
      "an HTML page": "FORMAT_INVALID: this is not a safetensors file: expected a safetensors header, found an HTML page (model.safetensors). The download was probably answered by a web page: check the address (/resolve/, not /blob/) and access rights.",
      "an empty file": "FORMAT_INVALID: the file is empty (model.safetensors)",
      "an entry that is a number": "FORMAT_INVALID: a tensor's entry is not an object: found 1 (a in model.safetensors)",
      "an unknown type": "FORMAT_UNSUPPORTED: unknown element type: found "F4" (a in model.safetensors)",
      "deep nesting": "FORMAT_INVALID: the header is nested too deeply: found deeper nesting at byte 3 (model.safetensors)",
      "dimensions whose product overflows": "FORMAT_INVALID: a tensor's data_offsets disagree with its shape: expected more than 2^53 bytes for F32 [4294967296, 4294967296], found 4 bytes (a in model.safetensors)",
      "metadata that is not strings": "FORMAT_INVALID: the header's __metadata__ is not a map of strings (model.safetensors)",
      "missing data": "FORMAT_INVALID: the file is truncated: expected 8 bytes of data, found 7 bytes (model.safetensors). Download it again.",
      "no shape": "FORMAT_INVALID: a tensor's shape is not usable: expected a list of integers from 0 to 2^53, found nothing (a in model.safetensors)",
      "no type": "FORMAT_INVALID: a tensor has no dtype: found nothing (a in model.safetensors)",
      "offsets in the wrong order": "FORMAT_INVALID: a tensor's data_offsets disagree with its shape: expected 4 bytes for F32 [1], found -4 bytes (a in model.safetensors)",
      "offsets that disagree with the shape": "FORMAT_INVALID: a tensor's data_offsets disagree with its shape: expected 12 bytes for F32 [3], found 8 bytes (a in model.safetensors)",
      "one offset": "FORMAT_INVALID: a tensor's data_offsets are not usable: expected [begin, end], found [0] (a in model.safetensors)",
      "overlap": "FORMAT_INVALID: two tensors overlap: expected data from byte 8, found data from byte 4 (b after a in model.safetensors)",
      "trailing data": "FORMAT_INVALID: the file has bytes of no tensor: expected 8 bytes of data, found 9 bytes (model.safetensors)",
    }
  `);
});

test("a flipped byte in the header never crashes the reader", async () => {
  const header = JSON.stringify({
    __metadata__: { format: "pt" },
    "a.weight": entry("F32", [2, 3], 0, 24),
    b: entry("U8", [], 24, 25),
  });
  const good = makeFile(header, 25);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 8 + header.length - 1 }),
      fc.integer({ min: 0, max: 255 }),
      async (at, byte) => {
        const bytes = good.slice();
        bytes[at] = byte;
        let outcome = "opened";
        await openSafetensors(openMemory("f", bytes)).catch((error: { code: string }) => {
          outcome = error.code;
        });
        expect(["opened", "FORMAT_INVALID", "FORMAT_UNSUPPORTED"]).toContain(outcome);
      },
    ),
    { numRuns: 2000 },
  );
});

const WIDTHS = { F64: 8, F32: 4, BF16: 2, F16: 2, I64: 8, U8: 1, BOOL: 1, F8_E4M3: 1 } as const;
const tensor = fc
  .record({
    dtype: fc.constantFrom(...(Object.keys(WIDTHS) as (keyof typeof WIDTHS)[])),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  })
  .chain(({ dtype, shape }) => {
    const length = shape.reduce((a, b) => a * b, WIDTHS[dtype]);
    const bytes = fc.uint8Array({ minLength: length, maxLength: length });
    return fc.record({ dtype: fc.constant(dtype), shape: fc.constant(shape), bytes });
  });
const names = fc
  .string({ unit: "grapheme", maxLength: 12 })
  .filter((name) => name !== "__metadata__");

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 3) yield bytes.subarray(at, at + 3);
}

test("what is written is read back: names, types, shapes, bytes, metadata", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(names, tensor), { selector: ([name]) => name, maxLength: 8 }),
      fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 }),
      async (items, metadata) => {
        const toWrite = items.map(([name, { dtype, shape, bytes }], i): TensorToWrite => {
          const data = [() => bytes, async () => bytes, () => pieces(bytes)][i % 3]!;
          return { name, dtype, shape, data };
        });
        const file = await collectBytes(writeSafetensors(toWrite, metadata));
        expect(file.byteLength).toBe(safetensorsSize(toWrite, metadata));
        expect(Number(new DataView(file.buffer).getBigUint64(0, true)) % 8).toBe(0);
        const checkpoint = await openSafetensors(openMemory("f", file));
        expect({ ...checkpoint.metadata }).toEqual({ ...metadata });
        expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(items.map(([name]) => name)));
        for (const [name, { dtype, shape, bytes }] of items) {
          expect(checkpoint.tensors.get(name)).toMatchObject({ name, dtype, shape });
          expect(await checkpoint.read(name)).toEqual(bytes);
          const half = bytes.length >> 1;
          expect(await checkpoint.read(name, half)).toEqual(bytes.subarray(half));
          expect(await checkpoint.read(name, 0, half)).toEqual(bytes.subarray(0, half));
        }
      },
    ),
  );
});

test("tensors may lie in any order, and are listed as they lie", async () => {
  const header = JSON.stringify({ b: entry("U8", [1], 1, 2), a: entry("U8", [1], 0, 1) });
  const file = makeFile(header, 2);
  file.set([10, 20], file.length - 2);
  const checkpoint = await openSafetensors(openMemory("f", file));
  expect([...checkpoint.tensors.keys()]).toEqual(["a", "b"]);
  expect([...(await checkpoint.read("a")), ...(await checkpoint.read("b"))]).toEqual([10, 20]);
});

describe("reads beyond a tensor", () => {
  test.each([
    ["c", undefined, undefined],
    ["a", -1, undefined],
    ["a", 0, 5],
    ["a", 5, undefined],
    ["a", 2, 3],
    ["a", Number.NaN, undefined],
    ["a", 0.5, 1],
  ])("%s from %s, %s bytes", async (name, offset, nBytes) => {
    const file = makeFile(
      JSON.stringify({ a: entry("U8", [4], 0, 4), b: entry("U8", [4], 4, 8) }),
      8,
    );
    const checkpoint = await openSafetensors(openMemory("f", file));
    const message = await failureOf(() => checkpoint.read(name, offset, nBytes));
    expect(message).toMatch(name === "c" ? /^MODEL_TENSOR_MISSING/ : /^SOURCE_READ_FAILED/);
  });
});

describe("the writer refuses", () => {
  const one = (name: string, dtype: DType, shape: number[], data: Uint8Array): TensorToWrite => ({
    name,
    dtype,
    shape,
    data: () => data,
  });
  const cases: readonly (readonly [string, TensorToWrite[]])[] = [
    [
      "a name twice",
      [one("a", "U8", [0], new Uint8Array(0)), one("a", "U8", [0], new Uint8Array(0))],
    ],
    ["the name of the metadata", [one("__metadata__", "U8", [0], new Uint8Array(0))]],
    ["an unknown type", [one("a", "Q4" as DType, [0], new Uint8Array(0))]],
    ["a negative dimension", [one("a", "U8", [-1], new Uint8Array(0))]],
    ["too little data", [one("a", "F32", [2], new Uint8Array(7))]],
    ["too much data", [one("a", "F32", [2], new Uint8Array(9))]],
  ];
  test.each(cases)("%s", async (title, tensors) => {
    const message = await failureOf(() => collectBytes(writeSafetensors(tensors, {})));
    expect(message).toMatch(/^FORMAT_INVALID/);
    expect({ [title]: message }).toMatchSnapshot();
  });
});
