// An engine on this page's main thread, or with #worker in a worker. `ask` is called from outside, one message at a time.
import { createResponder } from "/responder.mjs";

function createWorkerResponder() {
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" });
  return (message) =>
    new Promise((resolve) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => resolve({ failure: event.message ?? "the worker failed" });
      worker.postMessage(message);
    });
}

window.ask = location.hash === "#worker" ? createWorkerResponder() : createResponder();
