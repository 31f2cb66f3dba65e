// GGUF's tensor types: how many values a block has, and in how many bytes. Numbers and sizes are ggml's (ggml.h, ggml-common.h).
import { TureenError } from "../../errors.ts";

/** A type whose tensors can be read. */
export type GgmlName =
  | "F32"
  | "F16"
  | "BF16"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q8_0"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K"
  | "IQ4_NL"
  | "IQ4_XS";

export interface GgmlType {
  readonly name: GgmlName;
  /** Values of a block; blocks lie within rows. */
  readonly values: number;
  /** Bytes of a block. */
  readonly bytes: number;
}

const TYPES: readonly (readonly [id: number, name: GgmlName, values: number, bytes: number])[] = [
  [0, "F32", 1, 4],
  [1, "F16", 1, 2],
  [2, "Q4_0", 32, 18],
  [3, "Q4_1", 32, 20],
  [6, "Q5_0", 32, 22],
  [7, "Q5_1", 32, 24],
  [8, "Q8_0", 32, 34],
  [10, "Q2_K", 256, 84],
  [11, "Q3_K", 256, 110],
  [12, "Q4_K", 256, 144],
  [13, "Q5_K", 256, 176],
  [14, "Q6_K", 256, 210],
  [20, "IQ4_NL", 32, 18],
  [23, "IQ4_XS", 256, 136],
  [30, "BF16", 1, 2],
];

const BY_ID: ReadonlyMap<number, GgmlType> = new Map(
  TYPES.map(([id, name, values, bytes]) => [id, { name, values, bytes }]),
);

/** Types that exist and are not read. */
const OTHERS: Readonly<Record<number, string>> = {
  4: "Q4_2 (removed from ggml)",
  5: "Q4_3 (removed from ggml)",
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
};

/** @throws TureenError `FORMAT_UNSUPPORTED` for other types, by name where it is known */
export function findGgmlType(id: number, where: string): GgmlType {
  const type = BY_ID.get(id);
  if (type !== undefined) return type;
  throw new TureenError("FORMAT_UNSUPPORTED", "tensors of this type are not read", {
    expected: TYPES.map(([, name]) => name).join(", "),
    found: OTHERS[id] ?? `type ${id}`,
    where,
    hint: "Take a file of another quantization, such as Q4_K_M, Q6_K or Q8_0.",
  });
}
