// Puts a shader together from its text and the pieces it includes, and remembers which file each line came from. Where a piece
// has variants (by weight type or by what the device can do), its plain name stands for the one that is asked for.
//
// A key names a shader, its variant, and what its overrides are set to: `matvec-q4`, `attention COLUMNS=2 HALVES=1`.

import { PIECES, SHADERS } from "./generated/shaders.ts";
import { isQuantized, type Storage } from "./layout.ts";

export interface ComposedShader {
  readonly code: string;
  /** File and line behind line `line` (from 1) of the code. */
  locate(line: number): string;
}

export interface ShaderOptions {
  readonly subgroups: boolean;
  readonly packedDot: boolean;
}

/** Pieces with a variant per weight type; activations are f32 or q8. */
const BY_TYPE = ["weights", "value", "tile-weights", "bank", "tile-bank"];
const BY_INPUT = ["x", "tile"];
const INCLUDE = /^\/\/# include ([\w-]+)$/;
/** Values of the override FLOATS (lib/floats.wgsl). */
const FLOATS = { f32: 0, f16: 1, bf16: 2 } as const;

/** The key of a shader with overrides set; 0 is what they are anyway. */
export function specialize(name: string, constants: Readonly<Record<string, number>>): string {
  const set = Object.entries(constants).filter(([, value]) => value !== 0);
  return [name, ...set.map(([key, value]) => `${key}=${value}`)].join(" ");
}

/** The key of a shader for weights that are held in this way. */
export function specializeWeights(name: string, storage: Storage): string {
  if (isQuantized(storage)) return `${name}-${storage}`;
  return specialize(`${name}-f32`, { FLOATS: FLOATS[storage] });
}

/** The reverse of `specialize`. */
export function parseKey(key: string): { name: string; constants: Record<string, number> } {
  const [name = "", ...set] = key.split(" ");
  const constants = set.map((one) => one.split("=") as [string, string]);
  return { name, constants: Object.fromEntries(constants.map(([k, v]) => [k, Number(v)])) };
}

/** @param name a shader's name, with `-f32`, `-q8` or `-q4` behind it where it has a variant per weight type */
export function composeShader(name: string, options: ShaderOptions): ComposedShader {
  const { base, type } = /^(?<base>.*?)(?:-(?<type>f32|q8|q4))?$/.exec(name)!.groups!;
  const lines: string[] = [];
  const origins: string[] = [];
  const included = new Set<string>();
  const variant = (piece: string): string => {
    if (BY_TYPE.includes(piece)) return `${piece}-${type}`;
    if (BY_INPUT.includes(piece)) return `${piece}-${type === "f32" ? "f32" : "q8"}`;
    if (piece === "dot4" && !options.packedDot) return "dot4-emulated";
    if (piece === "reduce" && options.subgroups) return "reduce-subgroups";
    return piece;
  };
  const append = (file: string, text: string | undefined): void => {
    if (text === undefined) throw new Error(`there is no shader ${file}`);
    for (const [i, line] of text.split("\n").entries()) {
      const include = INCLUDE.exec(line)?.[1];
      if (include === undefined) {
        // directives stand before everything else
        const add = line.startsWith("enable ") ? "unshift" : "push";
        lines[add](line);
        origins[add](`${file}:${i + 1}`);
        continue;
      }
      const piece = variant(include);
      if (included.has(piece)) continue;
      included.add(piece);
      append(`shaders/lib/${piece}.wgsl`, PIECES[piece]);
    }
  };
  append(`shaders/${base}.wgsl`, SHADERS[base!]);
  return { code: lines.join("\n"), locate: (line) => origins[line - 1] ?? `shaders/${base}.wgsl` };
}

/** All shaders and their variants. */
export const SHADER_NAMES: readonly string[] = Object.entries(SHADERS).flatMap(([name, text]) => {
  const includes = listIncludes(text);
  const varies = BY_TYPE.some((piece) => includes.has(piece));
  return varies ? [`${name}-f32`, `${name}-q8`, `${name}-q4`] : [name];
});

/** Plain names of all pieces that a text includes, directly or not. */
function listIncludes(text: string, found: Set<string> = new Set()): Set<string> {
  for (const line of text.split("\n")) {
    const piece = INCLUDE.exec(line)?.[1];
    if (piece === undefined || found.has(piece)) continue;
    found.add(piece);
    listIncludes(PIECES[piece] ?? PIECES[`${piece}-q8`] ?? "", found);
  }
  return found;
}
