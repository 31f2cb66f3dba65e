// What a page downloads to have the engine: its JavaScript, minified, and its WebAssembly, each with gzip and brotli.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { bundleLibrary } from "../bundle.mjs";

const modules = (path) => fileURLToPath(new URL(`../node_modules/${path}`, import.meta.url));

const PEERS = {
  "wllama-2": [
    "@wllama/wllama-2/esm/index.min.js",
    "@wllama/wllama-2/esm/multi-thread/wllama.wasm",
  ],
  "wllama-3": ["@wllama/wllama/esm/index.min.js", "@wllama/wllama/esm/wasm/wllama.wasm"],
  "onnxruntime-web": [
    "onnxruntime-web/dist/ort.wasm.min.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
    "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
  ],
};

export async function measureDownload({ options, notebook }) {
  console.error("download sizes");
  const add = (contender, pieces) => {
    const sizes = {
      gzip: (piece) => gzipSync(piece, { level: 9 }).length,
      brotli: (piece) => brotliCompressSync(piece).length,
    };
    for (const [metric, size] of Object.entries(sizes)) {
      const bytes = pieces.reduce((sum, piece) => sum + size(piece), 0);
      notebook.add({ section: "download", contender, metric }, bytes);
    }
  };
  for (const build of ["relaxed-threads", "baseline-threads"]) {
    const name = build.startsWith("relaxed") ? "tureen" : "tureen, baseline build";
    add(name, await bundleLibrary(options.dist, build));
  }
  for (const peer of options.peers) {
    const files = PEERS[peer];
    if (files !== undefined)
      add(peer, await Promise.all(files.map((file) => readFile(modules(file)))));
  }
}
