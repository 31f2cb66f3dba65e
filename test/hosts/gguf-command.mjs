// GGUF files in Node, Deno and Bun, by path. Prints what it found.
import { loadModel } from "../../dist/index.js";
import { listSources, runGguf } from "./gguf.mjs";

const folder = process.argv[2];
const result = await runGguf(
  { loadModel },
  listSources((name) => `${folder}/${name}`),
);
console.log(JSON.stringify(result));
