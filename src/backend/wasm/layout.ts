// Sizes of the packed layouts that assembly/layout.ts describes.
import type { WeightType } from "../backend.ts";
import type { Holding } from "../packing.ts";

/** Columns per quantization block. */
export const BLOCK = 32;

/** Positions per block of a KV cache (assembly/kv-cache.ts). */
export const KEY_BLOCK = 64;

/** The next multiple of `step`; by default of a cache line. */
export function align(nBytes: number, step = 64): number {
  return Math.ceil(nBytes / step) * step;
}

/** To be raised with every change of which bytes weights are packed to: caches of packed weights then start anew. */
export const PACKED_VERSION = 2;

export const WEIGHT_TYPES: readonly WeightType[] = ["f32", "q8", "q4"];

/** How a matrix lies in memory. Of type f32, it holds what its file has: 16-bit floats are converted as they are read. */
export type Storage = WeightType | "f16" | "bf16";

export function storageOf({ type, dtype }: Holding): Storage {
  if (type !== "f32") return type;
  return dtype === "BF16" ? "bf16" : dtype === "F16" ? "f16" : "f32";
}

/** Names a packed layout: builds with relaxed SIMD hold q4 in another order. */
export function packedLayout(storage: Storage, isRelaxed: boolean): string {
  return `wasm ${storage}${storage === "q4" && isRelaxed ? " relaxed" : ""}`;
}

/** Bytes of a packed matrix. */
export function packedBytes(storage: Storage, rows: number, cols: number): number {
  const tiles = Math.ceil(rows / 8);
  if (storage === "f32") return tiles * cols * 32;
  if (storage === "f16" || storage === "bf16") return tiles * cols * 16;
  const blocks = Math.ceil(cols / BLOCK);
  const last = cols - (blocks - 1) * BLOCK;
  const tile =
    storage === "q8"
      ? (blocks - 1) * 288 + 32 + Math.ceil(last / 2) * 16
      : (blocks - 1) * 160 + 32 + Math.ceil(last / 8) * 32;
  return tiles * tile;
}

/** How activations are packed: f32, or quantized blocks of int16 or int8. */
export type PanelType = "f32" | "i16" | "i8";

/** How activations are packed for weights of a type. */
export function panelType(type: WeightType, isRelaxed: boolean): PanelType {
  if (type === "f32") return "f32";
  return type === "q4" && isRelaxed ? "i8" : "i16";
}

/** Bytes per token of packed activations. */
export function panelBytes(type: PanelType, cols: number): number {
  if (type === "f32") return cols * 4;
  return Math.ceil(cols / BLOCK) * (type === "i16" ? 72 : 40);
}
