// The parity program in hosts with a file system: Node, Deno, Bun. Prints its rows as JSON. With `sources`, it runs the
// library's TypeScript as it is; with `first-token`, it stops there.
import { readFile } from "node:fs/promises";
import { runParity, timeFirstToken } from "./parity.mjs";

const tureen = await (process.argv.includes("sources")
  ? import("../../src/index.ts")
  : import("../../dist/index.js"));
const kitchen = new URL("../../demo/kitchen/", import.meta.url);
const recipe = JSON.parse(await readFile(new URL("soups/learned.json", kitchen), "utf8"));
const open = (path) => new URL(path, kitchen);
const first = await timeFirstToken(tureen, open);
const memory = process.memoryUsage().rss;
const isDone = process.argv.includes("first-token");
const rows = isDone ? [] : await runParity(tureen, open, recipe);
console.log(JSON.stringify({ rows, ...first, memory }));
