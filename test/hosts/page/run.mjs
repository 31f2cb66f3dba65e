import * as tureen from "/dist/tureen.js";
import { runParity, timeFirstToken } from "/parity.mjs";

const FILES = {
  base: ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"],
  adapter: ["adapter_config.json", "adapter_model.safetensors"],
};
const cache = new Map();
const opened = new Set();

/** The first time by URL, which reads ranges; then from memory, which is quicker. */
async function open(path) {
  const url = new URL(`/kitchen/${path}`, location.href);
  if (!opened.has(path)) {
    opened.add(path);
    return url;
  }
  if (!cache.has(path)) {
    const files = {};
    for (const name of path === "base" ? FILES.base : FILES.adapter) {
      files[name] = await (await fetch(`${url}/${name}`)).blob();
    }
    cache.set(path, files);
  }
  return cache.get(path);
}

export async function runHere() {
  try {
    const recipe = await (await fetch("/kitchen/soups/learned.json")).json();
    const firstTokenMs = await timeFirstToken(tureen, open);
    const rows = await runParity(tureen, open, recipe);
    return { rows, firstTokenMs, isolated: crossOriginIsolated };
  } catch (error) {
    return { failure: String(error?.stack ?? error) };
  }
}
