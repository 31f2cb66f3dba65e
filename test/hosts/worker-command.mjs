// The worker story in hosts with a file system: Node, Deno, Bun. Prints what happened as JSON. With
// `sources`, the library's TypeScript as it is.
import { tellWorkerStory } from "./worker-story.mjs";

const { createTureenWorker } = await (process.argv.includes("sources")
  ? import("../../src/worker/client.ts")
  : import("../../dist/worker/client.js"));

const kitchen = new URL("../../demo/kitchen/", import.meta.url);
const found = await tellWorkerStory(createTureenWorker, (path) => new URL(path, kitchen));
console.log(JSON.stringify(found));
