// ONNX Runtime, native (onnxruntime-node) or as WebAssembly (onnxruntime-web): single products.
import { encodeProductModel } from "./onnx-model.mjs";

/** @param {{ package: string, threads: number }} options package: name or URL */
export async function start({ package: name, threads }) {
  const imported = await import(name);
  const ort = imported.InferenceSession === undefined ? imported.default : imported;
  const web = typeof WorkerGlobalScope !== "undefined";
  if (web) ort.env.wasm.numThreads = threads;
  const options = {
    executionProviders: [web ? "wasm" : "cpu"],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  };
  return {
    info: { engine: web ? "onnxruntime-web" : "onnxruntime-node", threads },
    async run({ type, rows, cols, tokens }) {
      const session = await ort.InferenceSession.create(
        encodeProductModel({ type, rows, cols }),
        options,
      );
      const values = Float32Array.from({ length: tokens * cols }, (_, i) => Math.sin(i));
      const x = new ort.Tensor("float32", values, [tokens, cols]);
      const ms = await repeat(() => session.run({ x }));
      await session.release();
      return { ms };
    },
    stop() {},
  };
}

/** ms per call, over at least 0.1 s of calls. */
async function repeat(call) {
  await call();
  for (let count = 1; ; count *= 2) {
    const start = performance.now();
    for (let i = 0; i < count; i++) await call();
    const ms = performance.now() - start;
    if (ms > 100) return ms / count;
  }
}
