// Bundles the program from sources, for hosts that resolve neither TypeScript nor packages.
import { fileURLToPath } from "node:url";
import { build } from "vite";

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** @returns folder with program.js */
export async function bundleProgram(): Promise<string> {
  const outDir = path("../../build/webgpu");
  await build({
    root: path("."),
    configFile: false,
    logLevel: "error",
    publicDir: false,
    resolve: { alias: { vitest: path("./expect.ts") } },
    build: {
      target: "es2022",
      outDir,
      emptyOutDir: true,
      minify: false,
      lib: { entry: path("./program.ts"), formats: ["es"], fileName: () => "program.js" },
      rolldownOptions: { checks: { ineffectiveDynamicImport: false } },
    },
  });
  return outDir;
}
