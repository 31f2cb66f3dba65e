// Many models one after the other in a worker of a page. The browser does not tell its memory, but it runs out of room for
// shared memories soon if they are not given back.
if (typeof document === "undefined") {
  const tureen = await import("/dist/tureen.js");
  const { runRounds } = await import("/rounds.mjs");
  const names = {
    base: ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"],
    adapter: ["adapter_config.json", "adapter_model.safetensors"],
  };
  const cache = new Map();
  const open = async (path) => {
    if (!cache.has(path)) {
      const read = async (name) => [name, await (await fetch(`/kitchen/${path}/${name}`)).blob()];
      const files = await Promise.all((names[path] ?? names.adapter).map(read));
      cache.set(path, Object.fromEntries(files));
    }
    return cache.get(path);
  };
  postMessage(await runRounds(tureen, open, { threads: 2 }));
} else {
  const worker = new Worker(import.meta.url, { type: "module" });
  const show = (result) => {
    const element = document.createElement("pre");
    element.id = "result";
    element.textContent = JSON.stringify(result);
    document.body.append(element);
  };
  worker.onmessage = ({ data }) => show(data);
  worker.onerror = ({ message }) => show({ failure: message });
}
