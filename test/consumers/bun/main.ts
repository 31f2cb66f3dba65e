import { loadModel } from "tureen";

const kitchen = "../node_modules/tureen/demo/kitchen"; // relative to where the program is started
const model = await loadModel(`${kitchen}/base`);
await model.loadAdapter(`${kitchen}/adapters/knowledge`, { name: "knowledge" });
await model.loadAdapter(`${kitchen}/adapters/format`, { name: "format" });

const prompt = "### Question: What does Daxpel carry?\n### Answer:";
const soup = model.soup({ knowledge: 1, format: 1 });
for await (const text of model.generate(prompt, { soup })) process.stdout.write(text);
await model.dispose();
