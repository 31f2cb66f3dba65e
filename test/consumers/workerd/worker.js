import { loadModel } from "tureen";
import wasm from "tureen/wasm/relaxed.wasm";

let model;

async function load(models) {
  const loaded = await loadModel(`${models}/base`, { wasm, contextLength: 256 });
  for (const name of ["knowledge", "format"]) {
    await loaded.loadAdapter(`${models}/adapters/${name}`, { name });
  }
  return loaded;
}

export default {
  async fetch(request, env) {
    model ??= await load(env.MODELS);
    const question = new URL(request.url).searchParams.get("q");
    const soup = model.soup({ knowledge: 1, format: 1 });
    const prompt = `### Question: ${question}\n### Answer:`;
    const { text } = await model.generate(prompt, { soup }).result();
    return new Response(text);
  },
};
