// Many models one after the other in Node, Deno or Bun. Prints what was held after every ten, as JSON.
import * as tureen from "../../dist/index.js";
import { runRounds } from "./rounds.mjs";

const kitchen = new URL("../../demo/kitchen/", import.meta.url);
const measure = async () => {
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 50));
  globalThis.gc?.();
  return process.memoryUsage().rss;
};
const found = await runRounds(tureen, (path) => new URL(path, kitchen), { measure, threads: 2 });
console.log(JSON.stringify(found));
