// Logits of id sequences from the two engines, each with one thread, for the files that `writeFiles` wrote.
import { join } from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { loadModel } from "../../dist/index.js";
import { ADAPTERS } from "./shape.mjs";

/**
 * @typedef {{ weights: string, soup: boolean, gguf?: boolean, quantize?: "none" | "stored", vocabulary: number }} Case
 *   weights: which GGUF file; soup: with both adapters, each with its weight
 * @typedef {Float32Array[]} Logits one row per position of every sequence
 */

/** llama.cpp on the CPU, from the binary that the npm package brings; nothing is built or downloaded. */
export function startLlamaCpp() {
  return getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
    maxThreads: 1,
  });
}

/**
 * llama.cpp's own logits, before any sampling.
 * @param {import("node-llama-cpp").Llama} llama
 * @param {string} directory
 * @param {Case} testCase
 * @param {readonly number[][]} sequences
 * @param {"F32" | "F16"} cache type of cached keys and values. F32 is Tureen's; F16, llama.cpp's default, rounds more.
 * @returns {Promise<Logits>}
 */
export async function evaluateWithLlamaCpp(llama, directory, testCase, sequences, cache) {
  const { weights, soup, vocabulary } = testCase;
  const model = await llama.loadModel({
    modelPath: pathOf(directory, weights),
    gpuLayers: 0,
    ignoreMemorySafetyChecks: true,
  });
  const context = await model.createContext({
    contextSize: 256,
    sequences: 1,
    threads: 1,
    flashAttention: false,
    experimentalKvCacheKeyType: cache,
    experimentalKvCacheValueType: cache,
    ignoreMemorySafetyChecks: true,
    ...(soup && { lora: { adapters: llamaAdapters(directory) } }),
  });
  try {
    const rows = [];
    const sequence = context.getSequence();
    for (const ids of sequences) {
      await sequence.clearHistory();
      const results = await sequence.controlledEvaluate(
        ids.map((id) => [id, { generateNext: { logits: true } }]),
      );
      for (const result of results) rows.push(toRow(result.next.logits, vocabulary));
    }
    return rows;
  } finally {
    await context.dispose();
    await model.dispose();
  }
}

function pathOf(directory, weights) {
  return join(directory, `model-${weights}.gguf`);
}

function llamaAdapters(directory) {
  return ADAPTERS.map(({ name, weight }) => ({
    filePath: join(directory, `${name}.gguf`),
    scale: weight,
  }));
}

/** @param {Map<number, number>} logits by id, in any order */
function toRow(logits, vocabulary) {
  if (logits.size !== vocabulary) throw new Error(`llama.cpp gave ${logits.size} logits`);
  const row = new Float32Array(vocabulary);
  for (const [id, logit] of logits) row[id] = logit;
  return row;
}

/**
 * @param {string} directory
 * @param {Case} testCase `gguf`: read llama.cpp's own files, adapters too
 * @param {readonly number[][]} sequences
 * @returns {Promise<{ logits: Logits, build: string }>}
 */
export async function evaluateWithTureen(directory, testCase, sequences) {
  const { weights, soup, gguf, vocabulary } = testCase;
  const { quantize = weights === "Q8_0" ? "q8" : "none" } = testCase;
  const model = await loadModel(gguf ? pathOf(directory, weights) : join(directory, "model"), {
    backend: "wasm",
    threads: 1,
    quantize: quantize === "stored" ? undefined : quantize,
    contextLength: 256,
  });
  try {
    for (const { name } of soup ? ADAPTERS : []) {
      await model.loadAdapter(join(directory, gguf ? `${name}.gguf` : name), { name });
    }
    const blend = Object.fromEntries(ADAPTERS.map(({ name, weight }) => [name, weight]));
    const rows = [];
    for (const ids of sequences) {
      const logits = await model.logits(ids, { soup: soup ? blend : undefined, all: true });
      for (let i = 0; i < ids.length; i++) {
        rows.push(logits.slice(i * vocabulary, (i + 1) * vocabulary));
      }
    }
    return { logits: rows, build: model.info.backend.build };
  } finally {
    await model.dispose();
  }
}
