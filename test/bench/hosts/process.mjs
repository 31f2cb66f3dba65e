// Runs in the engine's process (Node or Deno): a line of JSON in, a line of JSON out.
import process from "node:process";
import { createInterface } from "node:readline";
import { createResponder } from "../responder.mjs";

const respond = createResponder();
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  const { value, failure } = await respond(message);
  const answer = message.close ? { ...value, peakBytes: peakMemory() } : value;
  // Marked, since engines print too.
  process.stdout.write(`@answer ${JSON.stringify({ value: answer, failure })}\n`);
  if (message.close) process.exit(0);
}
process.exit(1); // nobody asks any more

/** Most memory that the process ever had resident. */
function peakMemory() {
  return globalThis.Deno === undefined ? process.resourceUsage().maxRSS * 1024 : undefined;
}
