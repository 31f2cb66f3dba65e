// The demo site as a host would have it: built once, served below a path, visited in Chromium by someone who notes every
// complaint of the browser.
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import type { OutgoingHttpHeaders } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type {
  Browser,
  BrowserContext,
  BrowserContextOptions,
  Locator,
  Page,
} from "playwright-core";
import { CHROMIUM } from "../hosts/binaries.ts";
import { launchChromium } from "../hosts/hosts.ts";
import { ISOLATION, type StaticServer, serveFiles } from "../hosts/server.ts";

export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));
export const KITCHEN: string = join(ROOT, "demo/kitchen/");
/** Screenshots to look at; not in git. */
export const ARTEFACTS: string = join(ROOT, "artefacts/demo");
export const missing: string | undefined = "missing" in CHROMIUM ? CHROMIUM.missing : undefined;
export { ISOLATION };

const run = promisify(execFile);

export interface Site {
  /** The built files. */
  readonly folder: string;
  readonly browser: Browser;
  /** Serves the files below a path, as Pages does. */
  serve(headers?: OutgoingHttpHeaders): Promise<StaticServer>;
  close(): Promise<void>;
}

export async function buildSite(): Promise<Site> {
  mkdirSync(ARTEFACTS, { recursive: true });
  const folder = mkdtempSync(join(tmpdir(), "tureen-demo-"));
  const vite = join(ROOT, "node_modules/vite/bin/vite.js");
  const { NODE_ENV: _, ...env } = process.env; // vitest's would build for development
  await run(process.execPath, [vite, "build", "demo", "--outDir", folder, "--emptyOutDir"], {
    cwd: ROOT,
    env,
  });
  const browser = await launchChromium();
  return {
    folder,
    browser,
    async serve(headers = {}) {
      const server = await serveFiles({ "/some/path/": folder }, headers);
      return { ...server, url: `${server.url}some/path/` };
    },
    async close() {
      await browser.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  /** What the console and the page complained of. */
  readonly complaints: readonly string[];
  close(): Promise<void>;
}

export async function visit(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  await page.goto(url);
  return { page, context, complaints, close: () => context.close() };
}

export async function readText(element: Locator): Promise<string> {
  return (await element.textContent())!.trim();
}

/** Waits until all four cooks have answered. @returns their answers and verdicts, by cook */
export async function readCooks(page: Page): Promise<Record<string, [string, string]>> {
  const cooks: Record<string, [string, string]> = {};
  for (const cook of ["base", "knowledge", "format", "soup"]) {
    const card = page.locator(`#taste [data-cook="${cook}"][aria-busy="false"]`);
    const verdict = card.locator(".verdict");
    await verdict.filter({ hasText: /\w/ }).waitFor();
    cooks[cook] = [await readText(card.locator(".answer")), await readText(verdict)];
  }
  return cooks;
}

/** Waits for a text that matches within an element, and returns it. */
export async function waitForText(page: Page, selector: string, pattern: RegExp): Promise<string> {
  const found = page.locator(selector).filter({ hasText: pattern }).first();
  await found.waitFor();
  return readText(found);
}
