// The header of GGUF files: versions, and everything a stranger's file can say that is not so.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TureenError } from "../../src/errors.ts";
import { readGgufHeader } from "../../src/formats/gguf/header.ts";
import { Metadata } from "../../src/formats/gguf/metadata.ts";
import { openMemory } from "../../src/sources/memory.ts";
import type { ByteSource } from "../../src/sources/source.ts";
import { type GgufSpec, makeGguf } from "../support/gguf.ts";
import { failureOf } from "./failure.ts";

const F32 = 0;
const Q4_0 = 2;

const spec: GgufSpec = {
  metadata: {
    "general.architecture": ["string", "llama"],
    "llama.block_count": ["u32", 2],
    "llama.rope.freq_base": ["f32", 500000],
    "a.flag": ["bool", true],
    "a.large": ["u64", 2 ** 40],
    "tokenizer.ggml.tokens": ["array", "string", ["a", "▁b", ""]],
    "tokenizer.ggml.scores": ["array", "f32", [0, -1, 0.5]],
  },
  tensors: [
    { name: "second", type: F32, shape: [2, 3], data: new Uint8Array(24).fill(1) },
    { name: "first", type: Q4_0, shape: [2, 64], data: new Uint8Array(72).fill(2) },
  ],
};

/** Counts what is read. */
function counting(bytes: Uint8Array): ByteSource & { readBytes: number } {
  const source = openMemory("model.gguf", bytes);
  const counted = {
    ...source,
    readBytes: 0,
    read: (offset: number, nBytes: number) => {
      counted.readBytes += nBytes;
      return source.read(offset, nBytes);
    },
  };
  return counted;
}

const read = (bytes: Uint8Array) => readGgufHeader(openMemory("model.gguf", bytes));

describe("a valid header", () => {
  test.each([1, 2, 3])("of version %i", async (version) => {
    const file = makeGguf({ ...spec, version });
    const { metadata, tensors, version: found } = await read(file);
    expect(found).toBe(version);
    const values = new Metadata(metadata, "model.gguf");
    expect(values.text("general.architecture")).toBe("llama");
    expect(values.number("llama.block_count")).toBe(2);
    expect(values.number("a.large")).toBe(2 ** 40);
    expect(values.flag("a.flag")).toBe(true);
    expect(values.texts("tokenizer.ggml.tokens", 10)).toEqual(["a", "▁b", ""]);
    expect(values.numbers("tokenizer.ggml.scores", 10)).toEqual([0, -1, 0.5]);
    expect([...tensors.values()]).toMatchObject([
      { name: "second", shape: [2, 3], nBytes: 24, type: { name: "F32" } },
      { name: "first", shape: [2, 64], nBytes: 72, type: { name: "Q4_0" } },
    ]);
    for (const [name, byte] of [
      ["second", 1],
      ["first", 2],
    ] as const) {
      const { begin, nBytes } = tensors.get(name)!;
      expect(begin % 32).toBe(0);
      expect([...file.subarray(begin, begin + nBytes)].every((one) => one === byte)).toBe(true);
    }
  });

  test("with another alignment", async () => {
    const file = makeGguf({
      ...spec,
      alignment: 256,
      metadata: { "general.alignment": ["u32", 256] },
    });
    const { tensors } = await read(file);
    expect([...tensors.values()].map(({ begin }) => begin % 256)).toEqual([0, 0]);
  });

  test("is found without reading the data", async () => {
    const data = new Uint8Array(4_000_000);
    const source = counting(
      makeGguf({ tensors: [{ name: "large", type: F32, shape: [1_000_000], data }] }),
    );
    await readGgufHeader(source);
    expect(source.readBytes).toBeLessThanOrEqual(64 * 1024);
  });

  test("longer than the first read", async () => {
    const tokens = Array.from({ length: 30_000 }, (_, i) => `token ${i}`);
    const file = makeGguf({ metadata: { "tokenizer.ggml.tokens": ["array", "string", tokens] } });
    const source = counting(file);
    const { metadata } = await readGgufHeader(source);
    expect(new Metadata(metadata, "").texts("tokenizer.ggml.tokens", 30_000)).toEqual(tokens);
    expect(source.readBytes).toBe(file.length);
  });
});

/** A file with some bytes of it changed. */
function changed(change: (view: DataView) => void, base: GgufSpec = spec): Uint8Array {
  const file = makeGguf(base).slice();
  change(new DataView(file.buffer));
  return file;
}

const tensor = (more: object = {}) => ({
  tensors: [{ name: "t", type: F32, shape: [8], data: new Uint8Array(32), ...more }],
});

describe("refuses", () => {
  const cases: Record<string, Uint8Array> = {
    "an empty file": new Uint8Array(0),
    "another format": new TextEncoder().encode("<!doctype html><title>404</title>"),
    "a safetensors file": Uint8Array.of(8, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d),
    "three bytes": new TextEncoder().encode("GGU"),
    "a header cut after its magic": new TextEncoder().encode("GGUF"),
    "version 0": changed((view) => view.setUint32(4, 0, true)),
    "version 4": changed((view) => view.setUint32(4, 4, true)),
    "big-endian files": changed((view) => view.setUint32(4, 3, false)),
    "more tensors than any model has": changed((view) => view.setUint32(8, 1 << 20, true)),
    "more tensors than there are": changed((view) => view.setUint32(8, 60_000, true)),
    "a count beyond 2^53": changed((view) => view.setUint32(12, 0xffff_ffff, true)),
    "more keys than any model has": changed((view) => view.setUint32(16, 1 << 20, true)),
    "a key longer than the file": changed((view) => view.setUint32(24, 0xffff, true)),
    "a key longer than keys are": changed((view) => view.setUint32(24, 0x7fff_ffff, true)),
    "a key that is not UTF-8": changed((view) => view.setUint8(32, 0xff)),
    "an unknown type of value": changed((view) => view.setUint32(52, 13, true)),
    "a text longer than the file": changed((view) => view.setUint32(56, 1 << 30, true)),
    "a text longer than any file": changed((view) => view.setUint32(60, 1 << 30, true)),
    "a list longer than the file": changed(
      (view) => view.setUint32(24 + 8 + 1 + 4 + 4, 1 << 30, true),
      { metadata: { k: ["array", "f32", [1]] } },
    ),
    "a list of something unknown": changed((view) => view.setUint32(24 + 8 + 1 + 4, 99, true), {
      metadata: { k: ["array", "f32", [1]] },
    }),
    "an alignment of 0": makeGguf({ metadata: { "general.alignment": ["u32", 0] } }),
    "an alignment of 24": makeGguf({ metadata: { "general.alignment": ["u32", 24] } }),
    "a huge alignment": makeGguf({ metadata: { "general.alignment": ["u32", 2 ** 31] } }),
    "an alignment that is a text": makeGguf({
      metadata: { "general.alignment": ["string", "32"] },
    }),
    "no dimensions": makeGguf(tensor({ shape: [] })),
    "five dimensions": makeGguf(tensor({ shape: [1, 1, 1, 1, 8] })),
    "a tensor larger than any file": makeGguf(tensor({ shape: [2 ** 40, 2 ** 40] })),
    "a type that is not read": makeGguf(tensor({ type: 19, shape: [256] })),
    "a type that does not exist": makeGguf(tensor({ type: 77 })),
    "rows that are no whole blocks": makeGguf(tensor({ type: Q4_0, shape: [4, 16] })),
    "data that is not aligned": makeGguf(tensor({ offset: 4 })),
    "data behind the file's end": makeGguf(tensor({ offset: 32 })),
    "a truncated file": makeGguf(spec).subarray(0, -40),
    "a name that is too long": makeGguf(tensor({ name: "t".repeat(257) })),
    "a tensor that occurs twice": makeGguf({
      tensors: [tensor().tensors[0]!, tensor().tensors[0]!],
    }),
    "tensors that overlap": makeGguf({
      tensors: [tensor().tensors[0]!, { ...tensor().tensors[0]!, name: "u", offset: 0 }],
    }),
  };
  test.each(Object.entries(cases))("%s", async (title, file) => {
    expect({ [title]: await failureOf(() => read(file)) }).toMatchSnapshot();
  });

  test("lists in lists beyond four", async () => {
    const nested = (depth: number): Uint8Array =>
      changed(
        (view) => {
          // a list of `depth` times a list of one list; the innermost has no item
          let at = 24 + 8 + 1 + 4;
          for (let i = 0; i < depth; i++, at += 12) {
            view.setUint32(at, i === depth - 1 ? 4 : 9, true);
            view.setUint32(at + 4, i === depth - 1 ? 0 : 1, true);
          }
        },
        { metadata: { k: ["array", "u32", new Array(64).fill(0)] } },
      );
    expect((await read(nested(4))).metadata.has("k")).toBe(true);
    await expect(read(nested(6))).rejects.toThrow(/nested/);
  });

  test("a key that occurs twice", async () => {
    const file = makeGguf({ metadata: { one: ["u32", 1], two: ["u32", 2] } });
    const at = new TextDecoder("latin1").decode(file).indexOf("two");
    file.set(new TextEncoder().encode("one"), at);
    await expect(read(file)).rejects.toThrow(/twice/);
  });

  test("metadata of another type than it must have", async () => {
    const { metadata } = await read(makeGguf(spec));
    const values = new Metadata(metadata, "model.gguf");
    const failures = [
      () => values.text("a.flag"),
      () => values.number("general.architecture"),
      () => values.flag("llama.block_count"),
      () => values.texts("tokenizer.ggml.scores", 10),
      () => values.numbers("tokenizer.ggml.tokens", 10),
      () => values.texts("tokenizer.ggml.tokens", 2),
    ];
    for (const failure of failures) expect(await failureOf(failure)).toMatchSnapshot();
  });
});

describe("whatever the bytes", () => {
  const base = makeGguf(spec);

  /** Ends in a header or an error of ours, having read no more than is there. */
  async function survives(file: Uint8Array): Promise<void> {
    const source = counting(file);
    try {
      const { tensors, metadata } = await readGgufHeader(source);
      for (const { begin, nBytes } of tensors.values()) {
        expect(begin + nBytes).toBeLessThanOrEqual(file.length);
      }
      const values = new Metadata(metadata, "");
      for (const key of metadata.keys()) {
        try {
          values.texts(key, 1000);
        } catch (error) {
          expect(error).toBeInstanceOf(TureenError);
        }
      }
    } catch (error) {
      expect(error).toBeInstanceOf(TureenError);
    }
    expect(source.readBytes).toBeLessThanOrEqual(2 * file.length);
  }

  test("truncated anywhere", async () => {
    for (let length = 0; length < base.length; length++) await survives(base.slice(0, length));
  });

  test("with bytes changed", async () => {
    const edits = fc.array(
      fc.tuple(fc.nat(base.length - 1), fc.oneof(fc.nat(255), fc.constantFrom(0, 0x7f, 0xff))),
      { minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(edits, fc.nat(base.length), async (list, end) => {
        const file = base.slice(0, Math.max(end, base.length - 100));
        for (const [at, byte] of list) if (at < file.length) file[at] = byte;
        await survives(file);
      }),
      { numRuns: 2000 },
    );
  });

  test("with 64-bit numbers of any size put anywhere", async () => {
    const number = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    await fc.assert(
      fc.asyncProperty(fc.nat(base.length - 8), number, async (at, value) => {
        const file = base.slice();
        new DataView(file.buffer).setBigUint64(at, value, true);
        await survives(file);
      }),
      { numRuns: 2000 },
    );
  });

  test("nothing but noise behind the magic", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (noise) => {
        await survives(Uint8Array.of(0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0, ...noise));
      }),
      { numRuns: 1000 },
    );
  });
});
