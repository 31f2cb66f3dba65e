import { loadModel } from "tureen";

const kitchen = new URL("../node_modules/tureen/demo/kitchen/", import.meta.url);
const model = await loadModel(new URL("base", kitchen));
await model.loadAdapter(new URL("adapters/knowledge", kitchen), { name: "knowledge" });
await model.loadAdapter(new URL("adapters/format", kitchen), { name: "format" });

const prompt = "### Question: What does Daxpel carry?\n### Answer:";
const soup = model.soup({ knowledge: 1, format: 1 });
for await (const text of model.generate(prompt, { soup })) process.stdout.write(text);
await model.dispose();
