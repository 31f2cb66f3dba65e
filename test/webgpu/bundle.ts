// Bundles the program from sources, for hosts that resolve neither TypeScript nor packages.
import { fileURLToPath } from "node:url";
import { build } from "vite";

const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/**
 * @param name of a folder that no other test uses
 * @returns folder with program.js
 */
export async function bundleProgram(name: string): Promise<string> {
  const outDir = path(`../../build/${name}`);
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
