// The program on a page, or with #worker in a worker of it. What it found becomes the page's text.
import { run } from "./run.mjs";

function show({ tokens, result }) {
  if (tokens !== undefined) document.querySelector("#tokens").textContent = String(tokens);
  if (result === undefined) return;
  const element = document.createElement("pre");
  element.id = "result";
  element.textContent = JSON.stringify(result);
  document.body.append(element);
}

if (location.hash === "#worker") {
  const worker = new Worker(`./worker.mjs${location.search}`, { type: "module" });
  worker.onmessage = ({ data }) => show(data);
  worker.onerror = ({ message }) => show({ result: { failure: message } });
} else {
  await run(location.search, show);
}
