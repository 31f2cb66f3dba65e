// What a page downloads to run a model: the library with its dependencies and one build of the kernels, inlined.
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Loaded on demand, and always on the way to a model. Merging, learning, the hub's cache, the GPU's backend and the reference are not;
 * nor is what only some models need: GGUF, chat templates (10 kB), addresses, folders. */
const ON_THE_WAY =
  /backend\/wasm\/(create|builds|host-threads)\.js$|backend\/webgpu\/device\.js$|generated\/relaxed-threads\.js$/;
const BUDGET = 105_000;

async function bundle(program: string): Promise<readonly Rolldown.OutputChunk[]> {
  const output = await build({
    root: ROOT,
    configFile: false,
    logLevel: "silent",
    build: {
      write: false,
      target: "es2022",
      lib: { entry: "program", formats: ["es"] },
      rolldownOptions: { output: { minify: true } },
    },
    plugins: [
      {
        name: "program",
        enforce: "pre",
        resolveId: (id) => (id.endsWith("/program") ? "\0program.js" : undefined),
        load: (id) => (id === "\0program.js" ? program : undefined),
      },
    ],
  });
  const [{ output: chunks }] = output as Rolldown.RolldownOutput[] as [Rolldown.RolldownOutput];
  return chunks.filter((chunk) => chunk.type === "chunk");
}

/** The entry, all it imports, and what is on the way. */
function needed(chunks: readonly Rolldown.OutputChunk[]): Rolldown.OutputChunk[] {
  const found = new Set<Rolldown.OutputChunk>();
  const visit = (name: string): void => {
    const chunk = chunks.find(({ fileName }) => fileName === name);
    if (chunk === undefined || found.has(chunk)) return;
    found.add(chunk);
    chunk.imports.forEach(visit);
    for (const path of chunk.dynamicImports) {
      const target = chunks.find(({ fileName }) => fileName === path);
      if (ON_THE_WAY.test(target?.facadeModuleId ?? "")) visit(path);
    }
  };
  visit(chunks.find(({ isEntry }) => isEntry)!.fileName);
  return [...found];
}

test(`the library with its kernels takes at most ${BUDGET / 1000} kB compressed`, async () => {
  const chunks = needed(await bundle(`export { loadModel } from "${ROOT}/dist/index.js";`));
  expect(chunks.some(({ facadeModuleId }) => facadeModuleId?.includes("generated"))).toBe(true);
  const size = (compress: (text: string) => Uint8Array) =>
    chunks.reduce((sum, { code }) => sum + compress(code).length, 0);
  const gzip = size((code) => gzipSync(code, { level: 9 }));
  console.log(
    `library and kernels: ${gzip} bytes gzip, ${size((code) => brotliCompressSync(code))} brotli`,
  );
  expect(gzip).toBeLessThanOrEqual(BUDGET);
});

test("a page that leaves the engine to a worker loads at most 5 kB itself", async () => {
  const [client] = await bundle(
    `export { createTureenWorker } from "${ROOT}/dist/worker/client.js";`,
  );
  expect(gzipSync(client!.code, { level: 9 }).length).toBeLessThanOrEqual(5_000);
});

test("nothing of Node is imported on the way to a browser", async () => {
  const chunks = await bundle(`export * from "${ROOT}/dist/index.js";`);
  const outside = chunks.flatMap(({ imports, dynamicImports }) => [...imports, ...dynamicImports]);
  const own = new Set(chunks.map(({ fileName }) => fileName));
  expect(outside.filter((name) => !own.has(name))).toEqual([]);
  expect(chunks.filter(({ code }) => /(from|import\()\s*["']node:/.test(code))).toEqual([]);
});

test("what is not used is left out", async () => {
  const all = needed(await bundle(`export * from "${ROOT}/dist/index.js";`));
  const one = needed(await bundle(`export { parseRecipe } from "${ROOT}/dist/index.js";`));
  const size = (chunks: readonly Rolldown.OutputChunk[]) =>
    chunks.reduce((sum, { code }) => sum + code.length, 0);
  // A recipe needs its parser, and the library that checks data.
  expect(size(one)).toBeLessThan(size(all) / 10);
});
