// llama.cpp on the CPU, from the binary that node-llama-cpp brings; nothing is built or downloaded.
import { join } from "node:path";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
import { randomIds } from "../tokens.mjs";

/**
 * @param {{ folder: string, type: string, threads: number, contextLength: number, adapters: readonly object[] }} options
 * type: GGUF's name
 */
export async function start({ folder, type, threads, contextLength, adapters }) {
  const begin = performance.now();
  const llama = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
    maxThreads: threads,
  });
  const model = await llama.loadModel({
    modelPath: join(folder, `model-${type}.gguf`),
    gpuLayers: 0,
    ignoreMemorySafetyChecks: true,
  });
  const loras = adapters.map(({ name, weight }) => ({
    filePath: join(folder, `${name}.gguf`),
    scale: weight,
  }));
  const contexts = new Map();
  const open = async (count) => {
    const context = await model.createContext({
      contextSize: contextLength,
      sequences: 1,
      batchSize: 512,
      threads: { ideal: threads, min: threads },
      ignoreMemorySafetyChecks: true,
      ...(count > 0 && { lora: { adapters: loras.slice(0, count) } }),
    });
    return context.getSequence();
  };
  contexts.set(0, await open(0));
  const { release } = llama.llamaCppRelease;
  return {
    info: { engine: `llama.cpp ${release}`, threads, loadMs: performance.now() - begin },
    async run({ prompt, decode, adapters: count }) {
      if (!contexts.has(count)) contexts.set(count, await open(count));
      const sequence = contexts.get(count);
      await sequence.clearHistory();
      const start = performance.now();
      let first;
      let tokens = 0;
      const ids = randomIds(prompt, model.vocabularySize ?? 49152);
      for await (const _ of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
        first ??= performance.now();
        if (++tokens === Math.max(1, decode)) break;
      }
      const end = performance.now();
      return {
        prefill: (1000 * prompt) / (first - start),
        decode: decode > 1 ? (1000 * (tokens - 1)) / (end - first) : 0,
      };
    },
    async stop() {
      await llama.dispose();
    },
  };
}
