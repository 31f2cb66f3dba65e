// What a user writes, in every host, against the package as npm would install it: packed, and installed with its dependencies.
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { publint } from "publint";
import { build, createServer } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BUN, CHROMIUM, DENO, NODE_24, type Program, WORKERD } from "../hosts/binaries.ts";
import { launchChromium } from "../hosts/hosts.ts";
import { ISOLATION, STRICT_CSP, serveFiles } from "../hosts/server.ts";
import { startWorkerd } from "../hosts/workerd.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const HERE = fileURLToPath(new URL(".", import.meta.url));
const ANSWER = "Daxpel carries a ladder.";
/** Bytes, gzip: what the README says of Cloudflare Workers. */
const EDGE_UPLOAD = 330_000;
let home: string;
/** The package as it would be published. */
let tarball: string;

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "tureen-consumers-"));
  for (const entry of readdirSync(HERE, { withFileTypes: true })) {
    if (entry.isDirectory())
      cpSync(join(HERE, entry.name), join(home, entry.name), { recursive: true });
  }
  writeFileSync(join(home, "package.json"), '{ "private": true, "type": "module" }');
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", home];
  const [{ filename }] = JSON.parse((await run("npm", pack, { cwd: ROOT })).stdout);
  tarball = join(home, filename);
  const install = ["install", "--no-audit", "--no-fund", "--prefer-offline", `./${filename}`];
  await run("npm", install, { cwd: home });
  cpSync(join(home, "node_modules/tureen/demo/kitchen"), join(home, "vite/public/kitchen"), {
    recursive: true,
  });
}, 120_000);
afterAll(() => rmSync(home, { recursive: true, force: true }));

function consumer(name: string, program: Program, task: (path: string) => Promise<void>): void {
  const missing = "missing" in program ? program.missing : undefined;
  const title = missing === undefined ? name : `${name}: ${missing}`;
  test.skipIf(missing !== undefined)(title, { timeout: 120_000 }, () =>
    task("path" in program ? program.path : ""),
  );
}

async function output(program: string, args: readonly string[], folder: string): Promise<string> {
  return (await run(program, args, { cwd: join(home, folder) })).stdout.trim();
}

/** Neighbours that a module of a folder imports, and theirs. */
function importsOf(path: string, found: Set<string> = new Set()): Set<string> {
  for (const [, name] of readFileSync(path, "utf8").matchAll(
    /(?:from|import)\s*"\.\/([\w.-]+)"/g,
  )) {
    if (found.has(name!)) continue;
    found.add(name!);
    importsOf(join(path, "..", name!), found);
  }
  return found;
}

/** Opens a page and returns what it answered, with the backend that did. */
async function visit(url: string): Promise<{ answer: string; build: string }> {
  const browser = await launchChromium();
  try {
    const tab = await browser.newPage();
    const complaints: string[] = [];
    tab.on("pageerror", (error) => complaints.push(String(error)));
    tab.on("console", (message) => void complaints.push(message.text()));
    await tab.goto(url);
    const result = tab.locator("#result");
    const answer = await result.textContent({ timeout: 100_000 }).catch((error) => {
      throw new Error([String(error), ...complaints].join("\n"));
    });
    const { build } = JSON.parse((await result.getAttribute("title"))!);
    return { answer: answer!.trim(), build };
  } finally {
    await browser.close();
  }
}

describe("the package", () => {
  test("publint has nothing to say", async () => {
    const pkgDir = join(home, "node_modules/tureen");
    const { messages } = await publint({ pkgDir, pack: false, strict: true });
    expect(messages).toEqual([]);
  });

  test("its types are what its modules are, in every way of resolving ESM", {
    timeout: 60_000,
  }, async () => {
    const attw = join(ROOT, "node_modules/.bin/attw");
    const wasm = ["--exclude-entrypoints", "./wasm/*", "./package.json"];
    const { stdout } = await run(attw, [
      tarball,
      "--profile",
      "esm-only",
      "--format",
      "json",
      ...wasm,
    ]);
    const { analysis } = JSON.parse(stdout);
    expect(Object.keys(analysis.entrypoints).sort()).toEqual([".", "./worker"]);
    // CommonJS gets ES modules, which Node can `require`.
    const isOurs = ({ resolutionKind }: { resolutionKind?: string }) =>
      resolutionKind !== "node10" && resolutionKind !== "node16-cjs";
    expect(analysis.problems.filter(isOurs)).toEqual([]);
  });
});

describe("programs that installed the package", () => {
  test("are short", () => {
    for (const folder of readdirSync(HERE, { withFileTypes: true }).filter((it) =>
      it.isDirectory(),
    )) {
      for (const file of readdirSync(join(HERE, folder.name))) {
        const lines = readFileSync(join(HERE, folder.name, file), "utf8").split("\n").length - 1;
        expect(lines, `${folder.name}/${file}`).toBeLessThanOrEqual(30);
      }
    }
  });

  consumer("node-esm", { path: process.execPath }, async (node) => {
    expect(await output(node, ["main.js"], "node-esm")).toBe(ANSWER);
  });

  consumer("node-ts", { path: process.execPath }, async (node) => {
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const types = ["--typeRoots", join(ROOT, "node_modules/@types"), "--types", "node"];
    const strict = ["--strict", "--module", "nodenext", "--target", "es2022"];
    const lib = ["--lib", "es2023,dom,dom.asynciterable,esnext.disposable"];
    await output(node, [tsc, "main.ts", ...strict, ...lib, ...types], "node-ts");
    expect(await output(node, ["main.js"], "node-ts")).toBe(ANSWER);
  });

  consumer("node-ts, unbuilt", NODE_24, async (node) => {
    expect(await output(node, ["main.ts"], "node-ts")).toBe(ANSWER);
  });

  consumer("deno", DENO, async (deno) => {
    expect(await output(deno, ["run", "--allow-read", "main.ts"], "deno")).toBe(ANSWER);
  });

  consumer("bun", BUN, async (bun) => {
    expect(await output(bun, ["main.ts"], "bun")).toBe(ANSWER);
  });

  consumer("bun, compiled into one program", BUN, async (bun) => {
    await output(bun, ["build", "--compile", "main.ts", "--outfile", "program"], "bun");
    expect(await output(join(home, "bun/program"), [], "bun")).toBe(ANSWER);
    // Its own script of a thread is all that such a program has: with as many as asked for, it runs, or fails.
    const threads = join(home, "bun/threads.ts");
    const main = readFileSync(join(home, "bun/main.ts"), "utf8");
    const changed = main.replace("base`)", "base`, { threads: 2 })");
    writeFileSync(
      threads,
      `${changed}\nprocess.stdout.write(\` ${"$"}{model.info.backend.build}\`);\n`,
    );
    await output(bun, ["build", "--compile", "threads.ts", "--outfile", "threads"], "bun");
    expect(await output(join(home, "bun/threads"), [], "bun")).toBe(`${ANSWER} relaxed-threads`);
  });

  consumer("vite build", CHROMIUM, async () => {
    await build({ root: join(home, "vite"), configFile: false, logLevel: "silent", base: "./" });
    const dist = join(home, "vite/dist");
    for (const [path, headers, build] of [
      ["/", { ...ISOLATION, ...STRICT_CSP }, "relaxed-threads"],
      ["/", STRICT_CSP, "relaxed"],
      ["/user/project/", STRICT_CSP, "relaxed"], // as on GitHub Pages
    ] as const) {
      const server = await serveFiles({ [path]: dist }, headers);
      try {
        const url = new URL(`${path}index.html`, server.url).href;
        expect(await visit(url), path).toEqual({ answer: ANSWER, build });
      } finally {
        await server.close();
      }
    }
  });

  consumer("vite's development server", CHROMIUM, async () => {
    const server = await createServer({
      root: join(home, "vite"),
      configFile: false,
      logLevel: "silent",
      server: { port: 0, host: "127.0.0.1" },
    });
    try {
      await server.listen();
      const seen = await visit(server.resolvedUrls!.local[0]!);
      expect(seen).toEqual({ answer: ANSWER, build: "relaxed" });
    } finally {
      await server.close();
    }
  });

  consumer("plain-html", CHROMIUM, async () => {
    for (const path of ["/", "/user/project/"]) {
      const folders = {
        [`${path}node_modules/`]: join(home, "node_modules"),
        [`${path}kitchen/`]: join(home, "node_modules/tureen/demo/kitchen"),
        [path]: join(home, "plain-html"),
      };
      const server = await serveFiles(folders, { ...ISOLATION, ...STRICT_CSP });
      try {
        const seen = await visit(new URL(`${path}index.html`, server.url).href);
        expect(seen, path).toEqual({ answer: ANSWER, build: "relaxed-threads" });
      } finally {
        await server.close();
      }
    }
  });

  consumer("plain-html, with the worker at an address of its own", CHROMIUM, async () => {
    const page = join(home, "plain-url");
    cpSync(join(home, "plain-html"), page, { recursive: true });
    const browser = join(home, "node_modules/tureen/dist/browser");
    const main = readFileSync(join(page, "main.js"), "utf8")
      .replace("./node_modules/tureen/dist/browser/", "./client/")
      .replace("createTureenWorker()", 'createTureenWorker({ url: "/engine/worker.js" })');
    writeFileSync(join(page, "main.js"), main);
    cpSync(join(browser, "worker-client.js"), join(page, "client/worker-client.js"));
    for (const file of readdirSync(browser).filter((name) => name.endsWith(".js"))) {
      cpSync(join(browser, file), join(page, "engine", file));
    }
    for (const file of importsOf(join(browser, "worker-client.js"))) {
      cpSync(join(browser, file), join(page, "client", file));
    }
    const kitchen = join(home, "node_modules/tureen/demo/kitchen");
    const folders = { "/kitchen/": kitchen, "/": page };
    const server = await serveFiles(folders, { ...ISOLATION, ...STRICT_CSP });
    try {
      const seen = await visit(`${server.url}index.html`);
      expect(seen).toEqual({ answer: ANSWER, build: "relaxed-threads" });
    } finally {
      await server.close();
    }
  });

  consumer("workerd", WORKERD, async (program) => {
    const folder = join(home, "workerd");
    // As wrangler does: one bundle of the program, and wasm as modules beside it.
    await build({
      root: folder,
      configFile: false,
      logLevel: "silent",
      ssr: { noExternal: true, target: "webworker" },
      build: {
        ssr: "worker.js",
        outDir: "dist",
        minify: true,
        rolldownOptions: { external: /\.wasm$/, output: { codeSplitting: false } },
      },
    });
    const bundle = join(folder, "dist/worker.js");
    const kernels = join(home, "node_modules/tureen/dist/wasm/relaxed.wasm");
    const upload = [bundle, kernels].map((file) => gzipSync(readFileSync(file)).length);
    const kitchen = await serveFiles({ "/": join(home, "node_modules/tureen/demo/kitchen") });
    const started = performance.now();
    const edge = await startWorkerd(
      program,
      new Map([
        ["worker.js", bundle],
        ["tureen/wasm/relaxed.wasm", kernels],
      ]),
      { MODELS: kitchen.url.slice(0, -1) },
    );
    try {
      const listening = performance.now();
      const idle = edge.peakMemory();
      const ask = async () => {
        const response = await fetch(
          `${edge.url}?q=${encodeURIComponent("What does Daxpel carry?")}`,
        );
        return (await response.text()).trim();
      };
      expect(await ask()).toBe(ANSWER);
      const first = performance.now();
      expect(await ask()).toBe(ANSWER);
      const size = upload.reduce((sum, bytes) => sum + bytes);
      expect(size).toBeLessThanOrEqual(EDGE_UPLOAD);
      console.log(
        `workerd: upload ${size} bytes gzip (${upload.join(" + ")} of kernels); listening after ${Math.round(listening - started)} ms, ` +
          `first answer (load, two adapters, text) after ${Math.round(first - listening)} ms, ` +
          `the next after ${Math.round(performance.now() - first)} ms; ` +
          `memory of the process ${Math.round(idle ?? 0)} MB, then ${Math.round(edge.peakMemory() ?? 0)} MB`,
      );
    } finally {
      await edge.close();
      await kitchen.close();
    }
  });
});
