// Tureen, from dist/ or from a bundle of it.
import { randomIds } from "../tokens.mjs";

/**
 * @param {{ tureen: string, model: unknown, adapterSources: Record<string, unknown>, adapters: readonly object[],
 *   quantize: "none" | "q8" | "q4", threads: number, build?: string, contextLength: number }} options
 * tureen: URL of the library; model and adapterSources: what its loaders take
 */
export async function start(options) {
  const { tureen, model: source, adapterSources, adapters, threads, build } = options;
  const begin = performance.now();
  const { loadModel } = await import(tureen);
  const model = await loadModel(await open(source), {
    backend: "wasm",
    threads,
    ...(build !== undefined && { build }),
    quantize: options.quantize,
    contextLength: options.contextLength,
  });
  const loadMs = performance.now() - begin;
  const bench = { model, adapters, adapterSources };
  return {
    info: { engine: "tureen", loadMs, ...model.info.backend, weightBytes: model.info.weightBytes },
    run: (task) => TASKS[task.kind ?? "generate"](bench, task),
    stop: () => model.dispose(),
  };
}

const TASKS = { generate: measureGeneration, batch: measureBatch, soup: measureSoup };

async function measureGeneration(bench, { prompt, decode, adapters }) {
  const { timings } = await generate(bench, prompt, decode, await blend(bench, adapters, 1));
  return { prefill: timings.prefillTokensPerSecond, decode: timings.decodeTokensPerSecond };
}

/**
 * Several texts at once, each with a soup of its own. Prompts are one token, so that almost all of the time is decoding.
 * @returns {Promise<{ decode: number }>} tokens per second of all together
 */
async function measureBatch(bench, { sequences, decode }) {
  const soups = [];
  for (let i = 0; i < sequences; i++) soups.push(await blend(bench, 2, 1 - i / 16));
  const start = performance.now();
  await Promise.all(soups.map((soup) => generate(bench, 1, decode, soup)));
  return { decode: (1000 * sequences * decode) / (performance.now() - start) };
}

/** Both weights of a soup set anew: until `set` returns, and what that leaves on the heap. */
async function measureSoup(bench, { repeat }) {
  const { model, adapters } = bench;
  const soup = model.soup(await blend(bench, 2, 1));
  const change = (count) => {
    for (let i = 0; i < count; i++) {
      // Small integers, since V8 would allocate any other number to pass it.
      for (const { name } of adapters) soup.set(name, 1 + (i & 1));
    }
  };
  change(repeat); // the compiler
  globalThis.gc?.();
  const heap = () => globalThis.process?.memoryUsage?.().heapUsed ?? Number.NaN;
  const before = heap();
  const start = performance.now();
  change(repeat);
  const us = (1000 * (performance.now() - start)) / repeat;
  return { us, bytes: Math.max(0, heap() - before) / repeat };
}

async function generate({ model }, prompt, maxTokens, soup) {
  const session = model.createSession();
  const ids = randomIds(prompt, model.config.vocabSize);
  const limits = { maxTokens: Math.max(1, maxTokens), ignoreEos: true };
  // every token with a pass of its own, as the peers compute it
  const options = { soup, session, ...limits, speculation: false };
  const result = await model.generate(ids, options).result();
  session.dispose();
  return result;
}

/** On a page, files come as Blobs, read once. */
async function open(source) {
  if (globalThis.location === undefined) return source;
  const names = ["config.json", "model.safetensors"];
  const adapter = ["adapter_config.json", "adapter_model.safetensors"];
  const files = {};
  for (const name of source.endsWith("/model") ? names : adapter) {
    files[name] = await (await fetch(`${source}/${name}`)).blob();
  }
  return files;
}

/** Weights of the first `count` adapters, which are loaded when first needed. */
async function blend({ model, adapters, adapterSources }, count, factor) {
  for (const { name } of adapters.slice(model.adapters.length, count)) {
    await model.loadAdapter(await open(adapterSources[name]), { name });
  }
  const weights = adapters.slice(0, count).map(({ name, weight }) => [name, weight * factor]);
  return Object.fromEntries(weights);
}
