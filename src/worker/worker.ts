// Entry point of the worker that holds the engine: the library's loaders, for the page's end to call.
import { findSourceKind, loadModel, mergeAdapters, openHubCache } from "../index.ts";
import { findBuiltin } from "../node-builtin.ts";
import { type Channel, Endpoint } from "./endpoint.ts";

/** Node, Deno and Bun give a port; a Web Worker speaks through its scope. */
const port = findBuiltin("node:worker_threads")?.parentPort;
const scope = globalThis as unknown as {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
};

const channel: Channel = {
  post: (message, transfer) => {
    if (port) port.postMessage(message, transfer as ArrayBuffer[]);
    else scope.postMessage(message, transfer);
  },
  listen: (receive) => {
    if (port) port.on("message", receive);
    else scope.addEventListener("message", ({ data }) => receive(data));
  },
};

// Logits are made for the caller, so their buffer may move to it.
const endpoint = new Endpoint(channel, {
  properties: "asked",
  moves: (member) => member === "logits",
});
endpoint.expose({ findSourceKind, loadModel, mergeAdapters, openHubCache });
