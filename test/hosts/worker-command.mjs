// The worker story in hosts with a file system: Node, Deno, Bun. Prints what happened as JSON.
import { createTureenWorker } from "../../dist/worker/client.js";
import { tellWorkerStory } from "./worker-story.mjs";

const kitchen = new URL("../../demo/kitchen/", import.meta.url);
const found = await tellWorkerStory(createTureenWorker, (path) => new URL(path, kitchen));
console.log(JSON.stringify(found));
