import { createTureenWorker } from "./node_modules/tureen/dist/browser/worker-client.js";

const worker = createTureenWorker();
const model = await worker.loadModel(new URL("kitchen/base", document.baseURI));
for (const name of ["knowledge", "format"]) {
  await model.loadAdapter(new URL(`kitchen/adapters/${name}`, document.baseURI), { name });
}
const soup = await model.soup({ knowledge: 1, format: 1 });

const answer = document.createElement("p");
const prompt = "### Question: What does Daxpel carry?\n### Answer:";
for await (const text of model.generate(prompt, { soup })) answer.textContent += text;
answer.id = "result";
answer.title = JSON.stringify((await model.info).backend);
document.body.append(answer);
