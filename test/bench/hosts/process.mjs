// Runs in the engine's process (Node or Deno): a line of JSON in, a line of JSON out.
import { readFileSync } from "node:fs";
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

/**
 * Most memory that the process ever had resident: by Linux's own mark, which begins with the program. What `resourceUsage` tells begins
 * with the parent's, of which a new process is a copy for a moment.
 */
function peakMemory() {
  if (globalThis.Deno !== undefined) return undefined;
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}
