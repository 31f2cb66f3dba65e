// wllama: llama.cpp compiled to WebAssembly, on a page. It makes its own worker. Adapters are not measured: neither version
// takes them from a page's files.
import { randomIds } from "/tokens.mjs";

const FOLDERS = { 2: "/node_modules/@wllama/wllama-2/esm", 3: "/node_modules/@wllama/wllama/esm" };

/** @param {{ version: 2 | 3, model: string, threads: number, contextLength: number }} options model: URL of a GGUF */
export async function start({ version, model, threads, contextLength }) {
  const folder = FOLDERS[version];
  const { Wllama, LoggerWithoutDebug } = await import(`${folder}/index.js`);
  const paths =
    version === 2
      ? {
          "single-thread/wllama.wasm": `${folder}/single-thread/wllama.wasm`,
          "multi-thread/wllama.wasm": `${folder}/multi-thread/wllama.wasm`,
        }
      : { default: `${folder}/wasm/wllama.wasm` };
  const wllama = new Wllama(paths, { logger: LoggerWithoutDebug, suppressNativeLog: true });
  const begin = performance.now();
  const blob = await (await fetch(model)).blob();
  await wllama.loadModel([blob], {
    n_ctx: contextLength,
    n_batch: 512,
    n_threads: threads,
    ...(version === 3 && { n_gpu_layers: 0, n_parallel: 1, warmup: false }),
  });
  const loadMs = performance.now() - begin;
  const { n_vocab: vocabulary } = wllama.getLoadedContextInfo();
  const run = version === 2 ? runVersion2 : runVersion3;
  return {
    info: { engine: `wllama ${version}`, threads: wllama.getNumThreads(), loadMs },
    run: ({ prompt, decode }) => run(wllama, randomIds(prompt, vocabulary), Math.max(1, decode)),
    stop: () => wllama.exit(),
  };
}

/** As its own createCompletion does it, but on token ids. */
async function runVersion2(wllama, ids, count) {
  await wllama.kvClear();
  await wllama.samplingInit({ temp: 0 }, []);
  const start = performance.now();
  await wllama.decode(ids, {});
  let { token } = await wllama.samplingSample();
  const first = performance.now();
  for (let i = 1; i < count; i++) {
    await wllama.samplingAccept([token]);
    await wllama.decode([token], {});
    ({ token } = await wllama.samplingSample());
  }
  const decodeMs = performance.now() - first;
  return toSpeed(ids.length, first - start, count - 1, decodeMs);
}

/**
 * By the clock of the server that it carries. It takes text only: of the files' vocabulary, letters are one token each (their
 * byte), the beginning four.
 */
async function runVersion3(wllama, ids, count) {
  const letters = ids.slice(4).map((id) => String.fromCharCode(97 + (id % 26)));
  const { timings } = await wllama.createCompletion({
    prompt: letters.join(""),
    max_tokens: count,
    temperature: 0,
    ignore_eos: true,
    cache_prompt: false,
  });
  if (timings.prompt_n !== ids.length) throw new Error(`it read ${timings.prompt_n} tokens`);
  return toSpeed(ids.length, timings.prompt_ms, timings.predicted_n - 1, timings.predicted_ms);
}

function toSpeed(prompt, prefillMs, tokens, decodeMs) {
  return {
    prefill: (1000 * prompt) / prefillMs,
    decode: tokens > 0 ? (1000 * tokens) / decodeMs : 0,
  };
}
