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

/** @param search of the page's address: with `first-token` it stops there */
export async function runHere(search) {
  try {
    const recipe = await (await fetch("/kitchen/soups/learned.json")).json();
    const first = await timeFirstToken(tureen, open);
    const isDone = new URLSearchParams(search).has("first-token");
    const rows = isDone ? [] : await runParity(tureen, open, recipe);
    return { rows, ...first, isolated: crossOriginIsolated };
  } catch (error) {
    return { failure: String(error?.stack ?? error) };
  }
}
