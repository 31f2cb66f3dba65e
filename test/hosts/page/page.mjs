// The parity program on a page: here, or with #worker in a module worker. What it found becomes the page's text.
import { runHere } from "./run.mjs";

function show(result) {
  const element = document.createElement("pre");
  element.id = "result";
  element.textContent = JSON.stringify(result);
  document.body.append(element);
}

if (location.hash === "#worker") {
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
  worker.onmessage = ({ data }) => show(data);
  worker.onerror = ({ message }) => show({ failure: message });
} else {
  show(await runHere());
}
