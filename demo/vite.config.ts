// The demo as static files. The engine is the built package, found by its own name as any user's bundler finds it.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { contentPolicy } from "./plugins/content-policy.ts";
import { kitchenFiles } from "./plugins/kitchen-files.ts";
import { nodeHashes } from "./plugins/node-hashes.ts";
import { offlineFiles } from "./plugins/offline-files.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  base: "./", // works under any path
  publicDir: false,
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es" },
  plugins: [
    kitchenFiles(here("kitchen/")),
    nodeHashes(here("kitchen/")),
    offlineFiles(),
    contentPolicy(),
  ],
  build: {
    target: "es2022",
    outDir: here("dist"),
    emptyOutDir: true,
    modulePreload: false,
    rolldownOptions: {
      input: { index: here("index.html"), "service-worker": here("src/service-worker.ts") },
      output: {
        // The library's own part of the page, apart from the page.
        codeSplitting: {
          groups: [{ name: "tureen", test: /[\\/]dist[\\/](worker|sources|errors|node-builtin)/ }],
        },
        // A service worker keeps its address.
        entryFileNames: ({ name }) =>
          name === "service-worker" ? "[name].js" : "assets/[name]-[hash].js",
      },
    },
  },
});
