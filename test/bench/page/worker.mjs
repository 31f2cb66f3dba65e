import { createResponder } from "/responder.mjs";

const respond = createResponder();
globalThis.onmessage = async ({ data }) => postMessage(await respond(data));
