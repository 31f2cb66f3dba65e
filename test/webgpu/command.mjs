// The program in Node or Deno: command.mjs FOLDER_OF_PROGRAM KITCHEN PROMPT STRIDE → one line of JSON on stdout.
import { argv } from "node:process";
import { pathToFileURL } from "node:url";

const [folder, kitchen, prompt, stride] = argv.slice(2);
const { runWebGpu } = await import(pathToFileURL(`${folder}/program.js`).href);
try {
  console.log(JSON.stringify(await runWebGpu(kitchen, JSON.parse(prompt), Number(stride))));
} catch (error) {
  console.log(JSON.stringify({ failure: `${error.stack ?? error}` }));
}
