// The library as a bundler ships it to a page: what is on the way to a model, minified, and one build of the kernels, which the
// package brings inlined.
import { resolve } from "node:path";
import { build } from "vite";

/**
 * @param {string} dist
 * @param {string} kernels name of their build
 * @returns {Promise<Buffer[]>} its files
 */
export async function bundleLibrary(dist, kernels) {
  // Loaded on demand, and always on the way to a model. Merging, learning, the hub's cache and the reference are not.
  const onTheWay = new RegExp(
    `backend/wasm/(create|builds|host-threads)\\.js$|generated/${kernels}\\.js$`,
  );
  const program = `export { loadModel } from ${JSON.stringify(resolve(dist, "index.js"))};`;
  const [{ output }] = await build({
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
        resolveId: (id) => (id.endsWith("program") ? "\0program.js" : undefined),
        load: (id) => (id === "\0program.js" ? program : undefined),
      },
    ],
  });
  const chunks = output.filter(({ type }) => type === "chunk");
  const needed = new Set();
  const visit = (name) => {
    const chunk = chunks.find(({ fileName }) => fileName === name);
    if (chunk === undefined || needed.has(chunk)) return;
    needed.add(chunk);
    for (const path of chunk.imports) visit(path);
    for (const path of chunk.dynamicImports) {
      const target = chunks.find(({ fileName }) => fileName === path);
      if (onTheWay.test(target?.facadeModuleId ?? "")) visit(path);
    }
  };
  visit(chunks.find(({ isEntry }) => isEntry).fileName);
  return [...needed].map(({ code }) => Buffer.from(code));
}
