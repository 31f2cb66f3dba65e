// The parity program on a page: here, or with #worker in a module worker. What it found becomes the page's text,
// and with ?post is also sent back, for browsers that nobody drives.
import { runHere } from "./run.mjs";

function show(result) {
  const element = document.createElement("pre");
  element.id = "result";
  element.textContent = JSON.stringify(result);
  document.body.append(element);
  if (new URLSearchParams(location.search).has("post"))
    fetch("/result", { method: "POST", body: element.textContent });
}

if (location.hash === "#worker") {
  const script = new URL(`./worker.mjs${location.search}`, import.meta.url);
  const worker = new Worker(script, { type: "module" });
  worker.onmessage = ({ data }) => show(data);
  worker.onerror = ({ message }) => show({ failure: message });
} else {
  show(await runHere(location.search));
}
