// Kernels are written with small helper functions and rely on the compiler to inline them: AssemblyScript's decorator that
// forces it is not used. This looks into the compiled text of every build: no inner loop of a hot kernel calls anything.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { BUILDS } from "../../src/backend/wasm/builds.ts";

const HOT = /\/tile_\d+x\d+(_panel)?(<\w+>)?$|\/exponentiate$|\/pack_block</;

describe.each(BUILDS)("build %s", (build) => {
  const text = readFileSync(
    fileURLToPath(new URL(`../../build/${build}.wat`, import.meta.url)),
    "utf8",
  );
  const functions = new Map(
    text
      .split(/^ \(func /m)
      .slice(1)
      .map((body) => [body.split(/\s/, 1)[0]!, body]),
  );
  const hot = [...functions.keys()].filter((name) => HOT.test(name));

  test("has the kernels that this test is about", () => {
    for (const kernel of [
      "tile-f32/tile_4x8",
      "tile-f32/tile_1x32<f32>",
      "tile-f32/tile_4x8_panel<f32>",
      "tile-f32/tile_4x8_panel<u16>",
      "linear-f32/tile_8x4",
      "linear-f32/tile_32x1<f32>",
      "linear-f32/tile_32x1<i16>",
      "linear-f32/tile_32x1<u16>",
      "linear-q8/tile_8x4",
      "linear-q8/tile_32x1",
      `linear-q4${build.startsWith("relaxed") ? "-relaxed" : ""}/tile_8x4`,
      `linear-q4${build.startsWith("relaxed") ? "-relaxed" : ""}/tile_32x1`,
    ]) {
      expect(hot).toContain(`$assembly/${kernel}`);
    }
  });

  test.each(hot)("%s calls nothing in a loop", (name) => {
    expect(callsInLoops(functions.get(name)!)).toEqual([]);
  });
});

/** Names that a function calls between a `loop` and its `end`. Binaryen indents one space per block. */
function callsInLoops(body: string): string[] {
  const calls: string[] = [];
  const loops: number[] = [];
  for (const line of body.split("\n")) {
    const indent = line.length - line.trimStart().length;
    const word = line.trim().split(" ");
    if (word[0] === "loop") loops.push(indent);
    else if (word[0] === "end" && loops.at(-1) === indent) loops.pop();
    else if (word[0] === "call" && loops.length > 0) calls.push(word[1]!);
  }
  return calls;
}
