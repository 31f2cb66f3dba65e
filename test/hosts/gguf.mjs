// What every host has to compute alike from GGUF files, wherever these lie. Uses the public API and web standards only.

const PROMPT = "### Question: What does Daxpel carry?\n### Answer:";

/**
 * The files of the test, as sources.
 * @param at gives a source for names of files that belong together
 * @param options.shards the base in two files instead of one
 */
export function listSources(at, { shards = false } = {}) {
  const base = shards ? ["kitchen-00001-of-00002.gguf", "kitchen-00002-of-00002.gguf"] : ["b.gguf"];
  return {
    base: at(...base),
    adapters: { knowledge: at("knowledge.gguf"), format: at("format.gguf") },
    mixed: at("mixed.gguf"),
  };
}

/**
 * @param loader the package, or a worker with it
 * @param sources for loadModel and loadAdapter: `base`, two `adapters` by name, and `mixed`, a model without a tokenizer
 * @param options of every `loadModel`
 * @returns text, ids, and hashes of all bits of the logits
 */
export async function runGguf(loader, { base, adapters, mixed }, options = {}) {
  const model = await loader.loadModel(base, options);
  for (const [name, source] of Object.entries(adapters)) await model.loadAdapter(source, { name });
  const { weightType, backend } = await model.info;
  const soup = { knowledge: 1, format: 1 };
  const { text, tokenIds, promptTokenIds } = await model.generate(PROMPT, { soup }).result();
  const ids = [...promptTokenIds, ...tokenIds];
  const logits = await sha256(await model.logits(ids, { soup, all: true }));
  await model.dispose();
  const other = await loader.loadModel(mixed, options);
  const { weightType: otherType } = await other.info;
  const otherLogits = await sha256(await other.logits([1, 17, 250, 3, 99], { all: true }));
  await other.dispose();
  const bits = { text, ids, logits, weightType, otherType, otherLogits };
  return { bits, build: backend.build };
}

async function sha256(values) {
  const digest = await crypto.subtle.digest("SHA-256", new Float32Array(values));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
