// Every host that the parity program runs in: how to run it there, or why it cannot be run here.
import { execFile } from "node:child_process";
import { readdirSync } from "node:fs";
import type { OutgoingHttpHeaders } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import {
  BUN,
  CHROMIUM,
  DENO,
  FIREFOX,
  NODE_22,
  NODE_24,
  type Program,
  WORKERD,
} from "./binaries.ts";
import { visitInFirefox } from "./firefox.ts";
import { findDescendants, largest } from "./memory.ts";
import { ISOLATION, STRICT_CSP, type StaticServer, serveFiles } from "./server.ts";
import { startWorkerd } from "./workerd.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

export interface Hashes {
  readonly tokens: string;
  readonly logits: string;
}

/** One case in one host: hashes, or why the host cannot run it. */
export interface ParityRow {
  readonly asked: { readonly build?: string; readonly threads?: number };
  readonly build: string;
  readonly threads: number;
  readonly f32?: Hashes;
  readonly q8?: Hashes;
  readonly q4?: Hashes;
  readonly unavailable?: string;
}

export interface ParityResult {
  readonly rows: readonly ParityRow[];
  /** From the start of the process, page or worker; undefined where the host's clock stands still. */
  readonly firstTokenMs?: number;
  /** What computed the first token. */
  readonly first?: { readonly build: string; readonly threads: number };
  /** Of the process that computes, in bytes, at the end; of commands, after the first token. At the edge the most it ever was. */
  readonly memory?: number | undefined;
}

/** How much of the program to run. */
export type Part = "all" | "first-token";

export interface Host {
  readonly name: string;
  /** CI fails if it did not run. */
  readonly required: boolean;
  /** Why it cannot run here. */
  readonly missing?: string | undefined;
  /** Most threads that the host can have, whatever it is asked for. */
  readonly threads: "one" | "many";
  readonly run: (part?: Part) => Promise<ParityResult>;
}

/** Node 20 has relaxed SIMD behind a flag. */
const RELAXED = "--experimental-wasm-relaxed-simd";

export const HOSTS: readonly Host[] = [
  command(
    `Node ${process.versions.node}`,
    { path: process.execPath },
    {
      required: true,
      flags: process.versions.node.startsWith("20.") ? [RELAXED] : [],
    },
  ),
  command("Node 22", NODE_22),
  command("Node 24", NODE_24),
  command("Deno", DENO, { required: true, flags: ["run", "--allow-read"] }),
  command("Deno, TypeScript sources", DENO, {
    flags: ["run", "--allow-read", "--no-check"],
    args: ["sources"],
  }),
  command("Bun", BUN),
  page("Chromium, isolated page, worker", { isolated: true, worker: true }),
  page("Chromium, isolated page, main thread", { isolated: true, worker: false }),
  page("Chromium, plain page, worker", { isolated: false, worker: true }),
  page("Chromium, plain page, main thread", { isolated: false, worker: false }),
  firefox("Firefox, isolated page, worker", { isolated: true, worker: true }),
  firefox("Firefox, plain page, main thread", { isolated: false, worker: false }),
  edge(),
];

interface CommandOptions {
  readonly required?: boolean;
  readonly flags?: readonly string[];
  readonly args?: readonly string[];
}

function command(
  name: string,
  program: Program,
  { required = false, flags = [], args = [] }: CommandOptions = {},
): Host {
  return {
    name,
    required,
    threads: "many",
    missing: "missing" in program ? program.missing : undefined,
    async run(part = "all") {
      const all = [...flags, join(ROOT, "test/hosts/command.mjs"), ...args, part];
      const { stdout } = await run(pathOf(program), all, { cwd: ROOT });
      return JSON.parse(stdout);
    },
  };
}

function page(name: string, { isolated, worker }: { isolated: boolean; worker: boolean }): Host {
  return {
    name,
    required: true,
    threads: isolated && worker ? "many" : "one",
    missing: "missing" in CHROMIUM ? CHROMIUM.missing : undefined,
    run: (part = "all") =>
      withPage(
        isolated ? ISOLATION : {},
        `page/index.html?${part}${worker ? "#worker" : ""}`,
        async (tab) => {
          const result = checkPage(await readResult(tab), isolated);
          return { ...result, memory: await rendererMemory(tab) };
        },
      ),
  };
}

async function rendererMemory(tab: Tab): Promise<number | undefined> {
  const session = await tab.context().browser()!.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  return largest(processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id));
}

type PageAnswer = ParityResult & { failure?: string; isolated?: boolean };

function checkPage({ failure, isolated, ...result }: PageAnswer, wanted: boolean): ParityResult {
  if (failure !== undefined) throw new Error(failure);
  if (isolated !== wanted) throw new Error("the page's isolation is not as set");
  return result;
}

function firefox(name: string, { isolated, worker }: { isolated: boolean; worker: boolean }): Host {
  return {
    name,
    required: false,
    threads: isolated && worker ? "many" : "one",
    missing: "missing" in FIREFOX ? FIREFOX.missing : undefined,
    async run(part = "all") {
      const path = `page/index.html?post&${part}${worker ? "#worker" : ""}`;
      let memory: number | undefined;
      const result = await postedFromFirefox(isolated ? ISOLATION : {}, path, {}, (pid) => {
        memory = largest(findDescendants(pid, /-isForBrowser.* tab/));
      });
      return { ...checkPage(result, isolated), memory };
    },
  };
}

/** What a page of test/hosts sends when Firefox has opened it. */
export async function postedFromFirefox(
  headers: OutgoingHttpHeaders,
  path: string,
  folders: Readonly<Record<string, string>> = {},
  look?: (pid: number) => void,
  // biome-ignore lint/suspicious/noExplicitAny: each page has its own answer
): Promise<any> {
  let answer = (_body: string): void => {};
  const done = new Promise<string>((resolve) => {
    answer = resolve;
  });
  const all = { ...folders, ...PAGE_FOLDERS };
  const server = await serveFiles(all, { ...headers, ...STRICT_CSP }, (body) => answer(body));
  try {
    return JSON.parse(await visitInFirefox(pathOf(FIREFOX), server.url + path, done, look));
  } finally {
    await server.close();
  }
}

/** What a page of test/hosts says when it is done. Its policy forbids to evaluate anything in it. */
// biome-ignore lint/suspicious/noExplicitAny: each page has its own answer
export async function readResult(tab: Tab): Promise<any> {
  return JSON.parse((await tab.locator("#result").textContent({ timeout: 150_000 }))!);
}

/** What pages of test/hosts find at their server. */
const PAGE_FOLDERS = {
  "/dist/": join(ROOT, "dist/browser"),
  "/kitchen/": join(ROOT, "demo/kitchen"),
  "/": join(ROOT, "test/hosts"),
};

type Tab = Awaited<ReturnType<Awaited<ReturnType<typeof chromium.launch>>["newPage"]>>;

/**
 * Opens a page of test/hosts in headless Chromium, under a strict content security policy.
 * @param folders more that it finds at its server
 */
export async function withPage<T>(
  headers: OutgoingHttpHeaders,
  path: string,
  task: (tab: Tab, server: StaticServer) => Promise<T>,
  folders: Readonly<Record<string, string>> = {},
): Promise<T> {
  const server = await serveFiles({ ...folders, ...PAGE_FOLDERS }, { ...headers, ...STRICT_CSP });
  const browser = await launchChromium();
  try {
    const tab = await browser.newPage();
    const complaints: string[] = [];
    tab.on("pageerror", (error) => complaints.push(String(error)));
    tab.on("console", (message) => {
      if (message.type() === "error" && !message.text().includes("404"))
        complaints.push(message.text());
    });
    await tab.goto(new URL(path, server.url).href);
    const result = await task(tab, server).catch((error) => {
      throw new Error([String(error), ...complaints].join("\n"));
    });
    if (complaints.length > 0) throw new Error(complaints.join("\n"));
    return result;
  } finally {
    await browser.close();
    await server.close();
  }
}

/** Debian's, headless, silent towards the network. */
export function launchChromium(): ReturnType<typeof chromium.launch> {
  return chromium.launch({
    executablePath: pathOf(CHROMIUM),
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

function edge(): Host {
  return {
    name: "workerd",
    required: true,
    threads: "one",
    missing: "missing" in WORKERD ? WORKERD.missing : undefined,
    async run(part = "all") {
      const started = performance.now();
      const workerd = await startWorkerd(pathOf(WORKERD), edgeModules());
      try {
        const response = await fetch(`${workerd.url}?${part}`);
        const { failure, ...result } = (await response.json()) as ParityResult & {
          failure?: string;
        };
        // Its own clock stands still: from outside, the start of the process included.
        const firstTokenMs = Math.round(performance.now() - started);
        if (failure !== undefined) throw new Error(failure);
        const megabytes = workerd.peakMemory();
        const memory = megabytes === undefined ? undefined : megabytes * 2 ** 20;
        return part === "all" ? { ...result, memory } : { ...result, memory, firstTokenMs };
      } finally {
        await workerd.close();
      }
    },
  };
}

/** The bundle without its inlined kernels, the kernels of one thread, the programs, the kitchen. */
export function edgeModules(): Map<string, string> {
  const modules = new Map<string, string>();
  modules.set("worker.mjs", join(ROOT, "test/hosts/edge-worker.mjs"));
  for (const name of ["parity.mjs", "gguf.mjs"]) modules.set(name, join(ROOT, "test/hosts", name));
  const bundle = join(ROOT, "dist/browser");
  for (const file of readdirSync(bundle)) {
    const inlinedKernels = /^(baseline|relaxed)/.test(file);
    if (!inlinedKernels) modules.set(`dist/${file}`, join(bundle, file));
  }
  for (const build of ["baseline", "relaxed"]) {
    modules.set(`wasm/${build}.wasm`, join(ROOT, `dist/wasm/${build}.wasm`));
  }
  const kitchen = join(ROOT, "demo/kitchen");
  for (const folder of ["base", "adapters/knowledge", "adapters/format", "soups"]) {
    for (const file of readdirSync(join(kitchen, folder))) {
      modules.set(`kitchen/${folder}/${file}`, join(kitchen, folder, file));
    }
  }
  return modules;
}

function pathOf(program: Program): string {
  if ("missing" in program) throw new Error(program.missing);
  return program.path;
}
