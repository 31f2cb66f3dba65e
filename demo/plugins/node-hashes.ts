// What Node computes while the page is built: the hashes that every visitor's machine has to match.
import { readFileSync } from "node:fs";
import type { Plugin } from "vite";
import { type BitHashes, hashBits, WEIGHT_TYPES } from "../src/engine/parity.ts";

const MODULE = "virtual:node-hashes";

export function nodeHashes(kitchen: string): Plugin {
  let computed: Promise<BitHashes> | undefined;
  return {
    name: "node-hashes",
    resolveId: (id) => (id === MODULE ? `\0${MODULE}` : undefined),
    async load(id) {
      if (id !== `\0${MODULE}`) return undefined;
      computed ??= computeHashes(kitchen);
      const { version, platform, arch } = process;
      return [
        `export const host = ${JSON.stringify(`Node ${version.slice(1)}, ${platform} ${arch}`)};`,
        `export const hashes = ${JSON.stringify(await computed)};`,
      ].join("\n");
    },
  };
}

/** @param kitchen folder, with a slash at the end */
export async function computeHashes(kitchen: string): Promise<BitHashes> {
  const { loadModel } = await import("tureen");
  const recipe = readFileSync(`${kitchen}soups/learned.json`, "utf8");
  const hashes: [string, string][] = [];
  for (const quantize of WEIGHT_TYPES) {
    const model = await loadModel(`${kitchen}base`, { quantize, threads: 1 });
    for (const name of ["knowledge", "format"]) {
      await model.loadAdapter(`${kitchen}adapters/${name}`, { name });
    }
    hashes.push([quantize, await hashBits(model, recipe)]);
    await model.dispose();
  }
  return Object.fromEntries(hashes) as unknown as BitHashes;
}
