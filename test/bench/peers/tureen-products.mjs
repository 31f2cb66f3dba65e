// Single operations of Tureen's wasm backend, through the contract that the decoder uses.

/** @param {{ dist: string, threads: number, build: string }} options dist: URL */
export async function start({ dist, threads, build }) {
  const { createBackend } = await import(`${dist}/backend/create-backend.js`);
  const backend = await createBackend({ backend: "wasm", threads, build });
  const weights = new WeightShelf(backend);
  return {
    info: { engine: "tureen", build: backend.build, threads: backend.threads },
    run: (task) =>
      task.attention === undefined
        ? measureProduct(backend, weights, task)
        : measureAttention(backend, task.attention),
    stop: () => backend.dispose(),
  };
}

/** Weights once made are kept for the next round: packing them takes longer than measuring. */
class WeightShelf {
  #backend;
  #shelf = new Map();

  constructor(backend) {
    this.#backend = backend;
  }

  /** `cold`: so many copies that none is in a cache when its turn comes, as in decoding. */
  async get({ type, rows, cols, cold }) {
    const key = [type, rows, cols, cold].join();
    let weights = this.#shelf.get(key);
    if (weights === undefined) {
      const load = () => this.#backend.loadMatrix(randomSource(rows, cols), type);
      weights = [await load()];
      const copies = cold ? Math.ceil(2 ** 27 / weights[0].nBytes) : 1;
      while (weights.length < copies) weights.push(await load());
      this.#shelf.set(key, weights);
    }
    return weights;
  }
}

/** @param {{ type: "f32" | "q8" | "q4", rows: number, cols: number, tokens: number, cold: boolean }} task */
async function measureProduct(backend, shelf, task) {
  const { rows, cols, tokens } = task;
  const weights = await shelf.get(task);
  const x = await filledTensor(backend, tokens, cols);
  const out = backend.createTensor(tokens, rows);
  let turn = 0;
  const ms = await repeat(backend, out, () => {
    const weight = weights[turn++ % weights.length];
    backend.linear(x, tokens, [{ out, weight, bank: [] }]);
  });
  backend.free(x);
  backend.free(out);
  return { ms, bytes: weights[0].nBytes };
}

async function measureAttention(backend, { heads, kvHeads, headDim, position, tokens }) {
  const length = position + tokens;
  const cache = backend.createKvCache({ layers: 1, kvHeads, headDim, length });
  const q = await filledTensor(backend, tokens, heads * headDim);
  const out = backend.createTensor(tokens, heads * headDim);
  const spans = [{ cache, position, n: tokens }];
  const ms = await repeat(backend, out, () => backend.attention(out, q, 0, spans));
  const bytes = cache.nBytes;
  for (const handle of [cache, q, out]) backend.free(handle);
  return { ms, bytes };
}

/** ms per operation, over 0.2 s of them. */
async function repeat(backend, out, record) {
  const run = async (count) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) record();
    await backend.read(out, 0, 1);
    return performance.now() - start;
  };
  await run(1); // the arena, the compiler
  let count = 1;
  let ms = await run(1);
  while (ms < 100) {
    count = Math.ceil(count * Math.min(16, Math.max(1.5, 150 / ms)));
    ms = await run(count);
  }
  return ms / count;
}

/** Activations are what an embedding looks up. */
async function filledTensor(backend, rows, cols) {
  const table = await backend.loadMatrix(randomSource(rows, cols), "f32");
  const tensor = backend.createTensor(rows, cols);
  backend.embed(
    tensor,
    table,
    Array.from({ length: rows }, (_, i) => i),
  );
  await backend.read(tensor, 0, 1);
  backend.free(table);
  return tensor;
}

function randomSource(rows, cols) {
  let state = 1;
  return {
    name: "bench",
    rows,
    cols,
    dtype: "F32",
    async read(_, count) {
      const values = new Float32Array(count * cols);
      for (let i = 0; i < values.length; i++) {
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        values[i] = state * 2 ** -32;
      }
      return new Uint8Array(values.buffer);
    },
  };
}
