// The parity program in hosts with a file system: Node, Deno, Bun. Prints its rows as JSON.
import { readFile } from "node:fs/promises";
import * as tureen from "../../dist/index.js";
import { runParity } from "./parity.mjs";

const kitchen = new URL("../../demo/kitchen/", import.meta.url);
const recipe = JSON.parse(await readFile(new URL("soups/learned.json", kitchen), "utf8"));
const rows = await runParity(tureen, (path) => new URL(path, kitchen), recipe);
console.log(JSON.stringify(rows));
