// The program on a page, or with #worker in a worker of it. What it found becomes the page's text.
function show(result) {
  const element = document.createElement("pre");
  element.id = "result";
  element.textContent = JSON.stringify(result);
  document.body.append(element);
}

if (location.hash === "#worker") {
  const worker = new Worker(`./worker.mjs${location.search}`, { type: "module" });
  worker.onmessage = ({ data }) => show(data);
  worker.onerror = ({ message }) => show({ failure: message });
} else {
  const { run } = await import("./run.mjs");
  show(await run(location.search));
}
