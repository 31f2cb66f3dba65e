// Puts a shader together from its text and the pieces it includes, and remembers which file each line came from. Where a piece
// has variants (by weight type or by what the device can do), its plain name stands for the one that is asked for.
import { PIECES, SHADERS } from "./generated/shaders.ts";

export interface ComposedShader {
  readonly code: string;
  /** File and line behind line `line` (from 1) of the code. */
  locate(line: number): string;
}

export interface ShaderOptions {
  readonly subgroups: boolean;
  readonly packedDot: boolean;
}

/** Pieces with a variant per weight type; the bank is f32 or q8. */
const BY_TYPE = ["weights", "value", "tile-weights"];
const BY_BANK = ["x", "bank", "tile", "tile-bank"];
const INCLUDE = /^\/\/# include ([\w-]+)$/;

/** @param key a shader's name, with `-f32`, `-q8` or `-q4` behind it where it has a variant per weight type */
export function composeShader(key: string, options: ShaderOptions): ComposedShader {
  const [, base, type] = /^(.*?)(?:-(f32|q8|q4))?$/.exec(key) as unknown as [
    string,
    string,
    string?,
  ];
  const lines: string[] = [];
  const origins: string[] = [];
  const included = new Set<string>();
  if (options.subgroups && SHADERS[base]?.includes("include reduce")) {
    lines.push("enable subgroups;");
    origins.push("compose.ts:0");
  }
  const variant = (name: string): string => {
    if (BY_TYPE.includes(name)) return `${name}-${type}`;
    if (BY_BANK.includes(name)) return `${name}-${type === "f32" ? "f32" : "q8"}`;
    if (name === "dot4" && !options.packedDot) return "dot4-emulated";
    if (name === "reduce" && options.subgroups) return "reduce-subgroups";
    return name;
  };
  const append = (file: string, text: string | undefined): void => {
    if (text === undefined) throw new Error(`there is no shader ${file}`);
    for (const [i, line] of text.split("\n").entries()) {
      const name = INCLUDE.exec(line)?.[1];
      if (name === undefined) {
        lines.push(line);
        origins.push(`${file}:${i + 1}`);
        continue;
      }
      const piece = variant(name);
      if (included.has(piece)) continue;
      included.add(piece);
      append(`shaders/lib/${piece}.wgsl`, PIECES[piece]);
    }
  };
  append(`shaders/${base}.wgsl`, SHADERS[base]);
  return { code: lines.join("\n"), locate: (line) => origins[line - 1] ?? `shaders/${base}.wgsl` };
}

/** All shaders and their variants. */
export const SHADER_KEYS: readonly string[] = Object.entries(SHADERS).flatMap(([name, text]) => {
  const includes = new Set(
    [...text.matchAll(/^\/\/# include ([\w-]+)$/gm)].map(([, piece]) => piece!),
  );
  if (BY_TYPE.some((piece) => includes.has(piece)))
    return [`${name}-f32`, `${name}-q8`, `${name}-q4`];
  if (BY_BANK.some((piece) => includes.has(piece))) return [`${name}-f32`, `${name}-q8`];
  return [name];
});
