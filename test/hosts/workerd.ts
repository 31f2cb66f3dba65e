// A real workerd (the runtime of Cloudflare Workers) that serves one worker from a folder of modules.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Module name → file. The first is the worker. */
export type Modules = ReadonlyMap<string, string>;

/** What wrangler's default rules say about file names. */
function kindOf(name: string): string {
  if (/\.m?js$/.test(name)) return "esModule";
  return name.endsWith(".wasm") ? "wasm" : "data";
}

export interface Edge {
  readonly url: string;
  /** Most memory that the process has held, in MB; undefined where /proc does not tell. */
  peakMemory(): number | undefined;
  close(): Promise<void>;
}

/**
 * Starts it and waits until it listens. No compatibility flags: the worker gets web standards alone.
 * @param variables of the worker's environment; it may reach this machine's own servers
 */
export async function startWorkerd(
  program: string,
  modules: Modules,
  variables: Readonly<Record<string, string>> = {},
): Promise<Edge> {
  const folder = mkdtempSync(join(tmpdir(), "tureen-edge-"));
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const entries = [...modules].map(([name, file]) => {
    return `(name = ${JSON.stringify(name)}, ${kindOf(name)} = embed ${JSON.stringify(resolve(file))})`;
  });
  const bindings = Object.entries(variables).map(([name, text]) => {
    return `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(text)})`;
  });
  const config = join(folder, "config.capnp");
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "internet", network = (allow = ["private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
);
const main :Workerd.Worker = (
  modules = [${entries.join(",\n    ")}],
  bindings = [${bindings.join(", ")}],
  compatibilityDate = "2025-09-01"
);
`,
  );
  const args = ["serve", "--import-path=/", config];
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (data) => {
    log += data;
  });
  const url = `http://127.0.0.1:${port}/`;
  const close = async (): Promise<void> => {
    await stop(child);
    rmSync(folder, { recursive: true, force: true });
  };
  for (let waited = 0; !(await listens(port)); waited += 50) {
    if (child.exitCode === null && waited < 20_000) await sleep(50);
    else {
      await close();
      throw new Error(`workerd did not start: ${log}`);
    }
  }
  return { url, close, peakMemory: () => readPeakMemory(child.pid!) };
}

/** A connection is enough: a request would already start the worker. */
function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}

function readPeakMemory(pid: number): number | undefined {
  try {
    const kb = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return kb === undefined ? undefined : Number(kb) / 1024;
  } catch {
    return undefined;
  }
}
