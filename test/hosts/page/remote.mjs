// The worker story on a page.
import { createTureenWorker } from "/dist/worker-client.js";
import { tellWorkerStory } from "/worker-story.mjs";

const open = (path) => new URL(`/kitchen/${path}`, location.href);
const result = await tellWorkerStory(createTureenWorker, open).catch((error) => ({
  failure: String(error.stack),
}));
const element = document.createElement("pre");
element.id = "result";
element.textContent = JSON.stringify({ ...result, isolated: crossOriginIsolated });
document.body.append(element);
