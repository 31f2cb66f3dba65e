// GGUF files on a page: by address, from a server that ignores ranges, and as picked files; here on its main thread, or with #worker
// in a worker of the library. With ?post, for browsers that nobody drives, files are not picked but made of what was fetched.
import * as tureen from "/dist/tureen.js";
import { createTureenWorker } from "/dist/worker-client.js";
import { listSources, runGguf } from "/gguf.mjs";

const isDriven = !new URLSearchParams(location.search).has("post");
const loader = location.hash === "#worker" ? createTureenWorker() : tureen;

async function pick() {
  const input = document.querySelector("input");
  if (!isDriven) {
    const names = await (await fetch("/gguf/names.json")).json();
    return Promise.all(
      names.map(async (name) => new File([await (await fetch(`/gguf/${name}`)).blob()], name)),
    );
  }
  if (input.files.length === 0) {
    await new Promise((resolve) => input.addEventListener("change", resolve, { once: true }));
  }
  return [...input.files];
}

async function run() {
  const at = (folder) => (name) => new URL(`/${folder}/${name}`, location.href);
  const found = {
    ranges: await runGguf(loader, listSources(at("gguf"))),
    whole: await runGguf(loader, listSources(at("whole"))),
  };
  const files = await pick();
  const named = (...names) => files.filter(({ name }) => names.includes(name));
  found.picked = await runGguf(loader, listSources(named, { shards: true }));
  const cut = [new File([files[0].slice(0, 100_000)], "cut.gguf")];
  found.error = await loader.loadModel(cut).catch(({ code, message }) => `${code}: ${message}`);
  return found;
}

const result = await run().catch((error) => ({ failure: String(error?.stack ?? error) }));
const element = document.createElement("pre");
element.id = "result";
element.textContent = JSON.stringify(result);
document.body.append(element);
if (!isDriven) fetch("/result", { method: "POST", body: element.textContent });
