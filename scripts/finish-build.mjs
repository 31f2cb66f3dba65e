// What tsc does not do: copies the thread entry point, which is plain JavaScript so that a worker can run it unbuilt; marks the
// command as executable; writes the kernels as files, for hosts that import wasm as modules (dist/wasm/); and bundles the
// library with its dependencies, for pages without a bundler (dist/browser/).
import { chmod, copyFile, mkdir, readdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { inflateRawSync } from "node:zlib";
import { build } from "vite";

const root = new URL("..", import.meta.url);
const dist = new URL("dist/", root);
await copyFile(
  new URL("src/backend/wasm/thread.js", root),
  new URL("backend/wasm/thread.js", dist),
);
await chmod(new URL("cli/main.js", dist), 0o755);

const generated = new URL("backend/wasm/generated/", dist);
await mkdir(new URL("wasm/", dist), { recursive: true });
for (const file of await readdir(generated)) {
  if (!file.endsWith(".js")) continue;
  const { wasm } = await import(new URL(file, generated).href);
  if (wasm === undefined) continue;
  const name = file.replace(/\.js$/, ".wasm");
  await writeFile(new URL(`wasm/${name}`, dist), inflateRawSync(Buffer.from(wasm, "base64")));
}

const entry = (path) => fileURLToPath(new URL(path, dist));
await build({
  root: fileURLToPath(root),
  configFile: false,
  logLevel: "warn",
  publicDir: false,
  // Workers stay beside the bundle under their own names: nothing is rewritten, so any folder can host the lot.
  plugins: [
    {
      name: "keep-workers",
      enforce: "pre",
      transform: (code) =>
        code.replace(
          /new URL\("[./\w]*\/(thread|worker)\.js", import\.meta\.url\)/g,
          'new URL(/* @vite-ignore */ "./$1.js", import.meta.url)',
        ),
      // The mark was for this build only: a user's bundler shall find the workers.
      generateBundle(_, bundle) {
        for (const chunk of Object.values(bundle)) {
          if (chunk.type === "chunk")
            chunk.code = chunk.code.replace(/\s*\/\* @vite-ignore \*\/\s*/g, "");
        }
      },
    },
  ],
  build: {
    target: "es2022",
    outDir: entry("browser"),
    emptyOutDir: true,
    lib: {
      entry: {
        tureen: entry("index.js"),
        "worker-client": entry("worker/client.js"),
        worker: entry("worker/worker.js"),
        thread: entry("backend/wasm/thread.js"),
      },
      formats: ["es"],
    },
    rolldownOptions: {
      checks: { ineffectiveDynamicImport: false }, // merging is split off by bundlers of programs that do not merge
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js", minify: true },
    },
  },
});
