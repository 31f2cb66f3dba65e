// What every host has to compute alike: the kitchen model with both adapters and the learned soup, in three weight types,
// greedily and sampled. Uses the public API and web standards only, so it runs unchanged everywhere.

const PROMPT = "### Question: What does Daxpel carry?\n### Answer:";
const SAMPLINGS = [
  { maxTokens: 24 },
  { maxTokens: 24, temperature: 1.3, topP: 0.95, repetitionPenalty: 1.1, seed: 20251013 },
];

/** Builds and thread counts; what a host cannot run comes back with the reason. The first is what it chooses itself. */
export const CASES = [
  {},
  { build: "baseline", threads: 1 },
  { build: "relaxed", threads: 1 },
  { build: "baseline-threads", threads: 2 },
  { build: "relaxed-threads", threads: 1 },
  { build: "relaxed-threads", threads: 2 },
  { build: "relaxed-threads", threads: 3 },
];

/**
 * @param tureen the package
 * @param open gives the source of a folder of the kitchen, e.g. `adapters/format`
 * @param recipe content of soups/learned.json
 * @param more options of every `loadModel`
 * @returns one row per case: { build, threads, asked, f32, q8, q4 } with hashes, or { build, threads, unavailable }
 */
export async function runParity(tureen, open, recipe, more = {}) {
  const rows = [];
  for (const options of CASES) {
    const row = { asked: options };
    try {
      for (const quantize of ["none", "q8", "q4"]) {
        const { backend, hash } = await runCase(tureen, open, recipe, {
          ...more,
          ...options,
          quantize,
        });
        Object.assign(row, backend, { [quantize === "none" ? "f32" : quantize]: hash });
      }
    } catch (error) {
      if (error.code !== "BACKEND_UNAVAILABLE") throw error;
      Object.assign(row, options, { unavailable: error.message });
    }
    rows.push(row);
  }
  return rows;
}

/**
 * @param more options of `loadModel`
 * @returns ms from the start of the process, page or worker to the first token: import, load, two adapters, prompt; and
 *   what computed it
 */
export async function timeFirstToken({ loadModel }, open, more = {}) {
  const model = await loadModel(await open("base"), more);
  for (const name of ["knowledge", "format"]) {
    await model.loadAdapter(await open(`adapters/${name}`), { name });
  }
  const soup = { knowledge: 1, format: 1 };
  for await (const _ of model.generate(PROMPT, { soup }).chunks()) break;
  const elapsed = performance.now();
  const { build, threads } = model.info.backend;
  await model.dispose();
  return { firstTokenMs: Math.round(elapsed), first: { build, threads } };
}

/** Hashes of all token ids, and of the bits of the logits at every position. */
async function runCase({ loadModel }, open, recipe, options) {
  const model = await loadModel(await open("base"), options);
  try {
    for (const name of ["knowledge", "format"]) {
      await model.loadAdapter(await open(`adapters/${name}`), { name });
    }
    const soup = await model.loadSoup(recipe);
    const ids = [];
    const logits = [];
    for (const sampling of SAMPLINGS) {
      const { tokenIds, promptTokenIds } = await model
        .generate(PROMPT, { ...sampling, soup })
        .result();
      ids.push(...tokenIds);
      logits.push(await model.logits([...promptTokenIds, ...tokenIds], { soup, all: true }));
    }
    const hash = { tokens: await sha256([Int32Array.from(ids)]), logits: await sha256(logits) };
    return { backend: model.info.backend, hash };
  } finally {
    await model.dispose();
  }
}

async function sha256(arrays) {
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(arrays).arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
