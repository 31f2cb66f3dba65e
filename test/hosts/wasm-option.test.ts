// Kernels given as compiled modules: which are taken, which refused, and what is said where a host compiles nothing.
import { readFileSync } from "node:fs";
import { afterEach, expect, test, vi } from "vitest";
import { loadModel } from "../../src/index.ts";
import { kitchenPath } from "../support/kitchen.ts";

const compile = (build: string): WebAssembly.Module =>
  new WebAssembly.Module(readFileSync(new URL(`../../dist/wasm/${build}.wasm`, import.meta.url)));
const load = (options: object) => loadModel(kitchenPath("base"), { threads: 1, ...options });

afterEach(() => void vi.restoreAllMocks());

test("runs the module it is given, and the best of several, without compiling", async () => {
  const modules = [compile("baseline"), compile("baseline-threads")];
  const compiled = vi.spyOn(WebAssembly, "compile");
  for (const [wasm, threads, build] of [
    [modules[0], 1, "baseline"],
    [modules, 1, "baseline"],
    [modules, 2, "baseline-threads"],
  ] as const) {
    await using model = await load({ wasm, threads });
    expect(model.info.backend).toMatchObject({ name: "wasm", build, threads });
  }
  // The test runner and Node compile modules of their own.
  const texts = compiled.mock.calls.map(([bytes]) =>
    Buffer.from(bytes as ArrayBuffer).toString("latin1"),
  );
  expect(texts.filter((text) => text.includes("tureen.build"))).toEqual([]);
});

test.each([
  [
    "a module of something else",
    { wasm: new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)) },
  ],
  ["bytes", { wasm: new Uint8Array(8) }],
  ["a list with something else in it", { wasm: ["baseline"] }],
])("refuses %s", async (_, options) => {
  await expect(load(options)).rejects.toMatchObject({
    code: "OPTION_INVALID",
    message: expect.stringContaining("tureen/wasm/*.wasm"),
  });
});

test("does not run a build that was not given", async () => {
  const wasm = compile("baseline");
  await expect(load({ wasm, threads: 2 })).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
  await expect(load({ wasm, build: "baseline-threads", backend: "wasm" })).rejects.toMatchObject({
    code: "BACKEND_UNAVAILABLE",
  });
});

test("says what to do where wasm cannot be compiled", async () => {
  vi.spyOn(WebAssembly, "compile").mockRejectedValue(new Error("disallowed by embedder"));
  await expect(load({})).rejects.toMatchObject({
    code: "BACKEND_UNAVAILABLE",
    message: expect.stringMatching(/disallowed by embedder.*wasm-unsafe-eval.*option wasm/),
  });
});
