// The worker story on a page.
import { createTureenWorker } from "/dist/worker-client.js";
import { tellWorkerStory } from "/worker-story.mjs";

const open = (path) => new URL(`/kitchen/${path}`, location.href);
const result = await tellWorkerStory(createTureenWorker, open).catch((error) => ({
  failure: String(error.stack),
}));

/** A folder as people pick or drop one: its handle goes to the worker, and no byte of it passes here. */
async function loadFromHandle() {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("picked", { create: true });
  for (const name of ["config.json", "tokenizer.json", "model.safetensors"]) {
    const file = await folder.getFileHandle(name, { create: true });
    const stream = await file.createWritable();
    await stream.write(await (await fetch(open(`base/${name}`))).blob());
    await stream.close();
  }
  const worker = createTureenWorker();
  const model = await worker.loadModel(folder, { contextLength: 64 });
  const { name } = await model.info;
  const { length } = await model.logits([1, 2, 3]);
  worker.terminate();
  return { name, length };
}
result.handle = await loadFromHandle().catch(({ name, message }) => `${name}: ${message}`);

const element = document.createElement("pre");
element.id = "result";
element.textContent = JSON.stringify({ ...result, isolated: crossOriginIsolated });
document.body.append(element);
