import { type GeneratedText, loadModel, type Soup, TureenError } from "tureen";
import { createTureenWorker, type RemoteModel } from "tureen/worker";

const kitchen = new URL("../node_modules/tureen/demo/kitchen/", import.meta.url);
const prompt = "### Question: What does Daxpel carry?\n### Answer:";

const worker = createTureenWorker();
const remote: RemoteModel = await worker.loadModel(new URL("base", kitchen), { quantize: "q8" });
for (const name of ["knowledge", "format"] as const) {
  await remote.loadAdapter(new URL(`adapters/${name}`, kitchen), { name });
}
const soup = await remote.soup({ knowledge: 1, format: 1 });
const { text }: GeneratedText = await remote.generate(prompt, { soup }).result();
console.log(text);
worker.terminate();

const model = await loadModel(new URL("base", kitchen));
try {
  const wrong: Soup = model.soup({ nobody: 1 });
  console.log(wrong.weights);
} catch (error) {
  if (!(error instanceof TureenError) || error.code !== "ADAPTER_NOT_FOUND") throw error;
}
await model.dispose();
