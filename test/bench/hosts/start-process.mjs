// Starts an engine in a process of its own.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("process.mjs", import.meta.url));
const MARK = "@answer ";

/**
 * @typedef {{ info: object, run: (task: object) => Promise<object>,
 *   close: () => Promise<{ peakBytes?: number }>, kill: () => unknown }} Engine
 *
 * @param {string} module URL of a module that exports `start(options)`
 * @param {object} options what it starts with
 * @param {{ path: string, flags?: readonly string[] }} program that runs it
 * @returns {Promise<Engine>}
 */
export async function startProcess(module, options, { path, flags = [] }) {
  const child = spawn(path, [...flags, PROGRAM], { stdio: ["pipe", "pipe", "pipe"] });
  const waiting = [];
  let complaints = "";
  child.stderr.on("data", (text) => {
    complaints = (complaints + text).slice(-1000);
  });
  child.stdin.on("error", () => {}); // the process ended, which "close" tells
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (!line.startsWith(MARK)) return;
    const { value, failure } = JSON.parse(line.slice(MARK.length));
    const { resolve, reject } = waiting.shift();
    if (failure === undefined) resolve(value);
    else reject(new Error(failure));
  });
  const fail = (reason) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(reason));
  };
  child.on("error", (error) => fail(String(error)));
  child.on("close", (code, signal) => fail(`the process ended (${signal ?? code}) ${complaints}`));
  const ask = (message) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin.write(`${JSON.stringify(message)}\n`);
    });
  try {
    const info = await ask({ start: { module, options } });
    return {
      info,
      run: (task) => ask({ task }),
      close: () => ask({ close: true }),
      kill: () => child.kill("SIGKILL"),
    };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}
