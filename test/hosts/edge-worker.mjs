// The parity program at the edge: wasm arrives as compiled modules, the kitchen as data. Or, with ?gguf=URL, GGUF files from there.

import * as tureen from "./dist/tureen.js";
import { listSources, runGguf } from "./gguf.mjs";
import { runParity, timeFirstToken } from "./parity.mjs";
import baseline from "./wasm/baseline.wasm";
import relaxed from "./wasm/relaxed.wasm";

const FILES = {
  base: [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors",
  ],
  adapter: ["adapter_config.json", "adapter_model.safetensors"],
};

async function open(path) {
  const names = path === "base" ? FILES.base : FILES.adapter;
  const read = async (name) => [name, (await import(`./kitchen/${path}/${name}`)).default];
  return Object.fromEntries(await Promise.all(names.map(read)));
}

export default {
  async fetch(request) {
    try {
      const wasm = [baseline, relaxed];
      const { searchParams } = new URL(request.url);
      if (searchParams.has("gguf")) {
        const sources = listSources((name) => new URL(name, searchParams.get("gguf")));
        return Response.json(await runGguf(tureen, sources, { wasm }));
      }
      if (searchParams.has("first-token")) {
        const { first } = await timeFirstToken(tureen, open, { wasm });
        return Response.json({ rows: [], first });
      }
      const { default: bytes } = await import("./kitchen/soups/learned.json");
      const recipe = JSON.parse(new TextDecoder().decode(bytes));
      const rows = await runParity(tureen, open, recipe, { wasm });
      return Response.json({ rows });
    } catch (error) {
      return Response.json({ failure: String(error?.stack ?? error) });
    }
  },
};
