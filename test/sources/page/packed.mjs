// Loads a model of the hub as a page does, and tampers with what the browser keeps.
import { loadModel, openHubCache } from "/dist/tureen.js";
import { createTureenWorker } from "/dist/worker-client.js";

let worker;

globalThis.load = async ({ worker: inWorker, ...options }) => {
  const warnings = [];
  const onWarning = ({ message }) => void warnings.push(message);
  if (inWorker) worker ??= createTureenWorker();
  const host = worker ?? { loadModel, openHubCache };
  const model = await host.loadModel("kitchen/base", { ...options, backend: "wasm", onWarning });
  const values = await model.logits([1, 5, 99, 200, 17], { all: true });
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", values));
  const { threads } = (await model.info).backend;
  await model.dispose();
  const repos = await (await host.openHubCache()).list();
  const { packedBytes } = repos.find(({ repo }) => repo === "kitchen/base");
  return { logits: digest.join(), threads, warnings, packedBytes };
};

globalThis.clear = async () => (await openHubCache()).remove("kitchen/base");

/** Changes pieces whose key matches; how many there were. */
async function spoil(pattern, change) {
  const { packed: store } = await openHubCache();
  const keys = (await store.keys("")).filter((key) => pattern.test(key));
  for (const key of keys) {
    const bytes = new Uint8Array(await (await store.get(key)).arrayBuffer());
    change(bytes);
    await store.put(key, bytes);
  }
  return keys.length;
}

/** Behind the header, of the one large file: other signs. */
globalThis.spoilWeights = () =>
  spoil(/^models\/kitchen--base\/blobs\/[0-9a-f]{64}\/0$/, (bytes) => {
    const start = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true));
    for (let i = start + 1; i < bytes.length; i += 2) bytes[i] ^= 0x80;
  });

globalThis.spoilPacked = () =>
  spoil(/^packed\/\w+\/0$/, (bytes) => {
    bytes[bytes.length >> 1] ^= 1;
  });
