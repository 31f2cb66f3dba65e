// Products on WebGPU, Tureen and ONNX Runtime Web in turns in one page: from input values to output values in JavaScript's memory.
import * as ort from "/ort/ort.webgpu.bundle.min.mjs";
import { encodeProductModel } from "/peers/onnx-model.mjs";
import { createWebGpuBackend } from "/tureen/backend/webgpu/create.js";

const { shapes, rounds } = JSON.parse(new URLSearchParams(location.search).get("plan"));

async function startTureen(backend, { type, rows, cols, tokens }) {
  const values = Float32Array.from({ length: rows * cols }, (_, i) => ((i * 37) % 101) / 101 - 0.5);
  const source = {
    name: "w",
    rows,
    cols,
    dtype: "F32",
    read: async (row, n) => new Uint8Array(values.slice(row * cols, (row + n) * cols).buffer),
  };
  const weight = await backend.loadMatrix(source, type);
  const [x, out] = [backend.createTensor(tokens, cols), backend.createTensor(tokens, rows)];
  const result = new Float32Array(tokens * rows);
  return {
    run: async () => {
      backend.linear(x, tokens, [{ out, weight, bank: [] }]);
      await backend.read(out, 0, tokens, result);
    },
    stop: () => {
      for (const handle of [weight, x, out]) backend.free(handle);
    },
  };
}

async function startOrt({ type, rows, cols, tokens }) {
  const options = { executionProviders: ["webgpu"], graphOptimizationLevel: "all" };
  const session = await ort.InferenceSession.create(
    encodeProductModel({ type, rows, cols }),
    options,
  );
  const values = Float32Array.from({ length: tokens * cols }, (_, i) => Math.sin(i));
  const x = new ort.Tensor("float32", values, [tokens, cols]);
  return {
    run: async () => void (await (await session.run({ x })).y.getData()),
    stop: () => session.release(),
  };
}

async function time(run) {
  const start = performance.now();
  let count = 0;
  do {
    await run();
    count++;
  } while (performance.now() - start < 150);
  return (performance.now() - start) / count;
}

async function measure() {
  const backend = await createWebGpuBackend();
  const rows = [];
  for (const shape of shapes) {
    const row = { ...shape, tureen: [], ort: [] };
    try {
      const [mine, theirs] = [await startTureen(backend, shape), await startOrt(shape)];
      await mine.run();
      await theirs.run();
      for (let i = 0; i < rounds; i++) {
        row.tureen.push(await time(mine.run));
        row.ort.push(await time(theirs.run));
      }
      mine.stop();
      await theirs.stop();
    } catch (error) {
      row.failure = String(error);
    }
    rows.push(row);
  }
  return { device: backend.build, ort: ort.env.versions.web, rows };
}

const element = document.createElement("pre");
element.id = "result";
element.textContent = JSON.stringify(
  await measure().catch((error) => ({ failure: String(error) })),
);
document.body.append(element);
