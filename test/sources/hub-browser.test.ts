// The hub in a real browser, headless Chromium: origin private file system, redirects that scripts cannot see, and a tab
// that is closed in the middle of a download.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM } from "../hosts/binaries.ts";
import { COMMIT, etagOf, MockHub, OTHER_COMMIT, someBytes, TOKEN } from "./hub-mock.ts";

const missing = "missing" in CHROMIUM ? CHROMIUM.missing : undefined;

// Two and a half parts of the cache.
const weights = { content: someBytes(20 * 1024 * 1024), lfs: true };
const config = { content: new TextEncoder().encode("{}") };

const PAGE = '<!doctype html><title>t</title><script type="module" src="/load.js"></script>';
const LOAD = `
import { openHub } from "/hub.js";
globalThis.load = async (options) => {
  const reference = { repo: "org/name", revision: "main", folder: "" };
  const files = await openHub(reference, options, { rangeBytes: 1 << 20 });
  const config = await files.open("config.json");
  if (config.size !== 2) throw new Error("another config");
  const source = await files.open("model.safetensors", { early: true });
  const beginning = await source.read(0, 1000); // before the rest is there
  const bytes = await source.read(0, source.size);
  await source.settle();
  if (beginning.some((byte, i) => byte !== bytes[i])) throw new Error("another beginning");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  const sha = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return { size: source.size, sha };
};`;

// In CI it must run, and fails without.
describe.skipIf(missing && !process.env.CI)(`Chromium${missing ? `: ${missing}` : ""}`, () => {
  const hub = new MockHub();
  let pages: Server;
  let origin: string;
  let browser: Browser;
  let context: BrowserContext;
  let scratch: string;

  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), "tureen-browser-"));
    await build({
      configFile: false,
      logLevel: "silent",
      build: {
        lib: {
          entry: join(import.meta.dirname, "../../src/sources/hub.ts"),
          formats: ["es"],
          fileName: "hub",
        },
        rollupOptions: { output: { codeSplitting: false } },
        outDir: scratch,
      },
    });
    const hubScript = readFileSync(join(scratch, "hub.js"));
    pages = createServer(({ url }, response) => {
      response.setHeader("content-type", url === "/" ? "text/html" : "text/javascript");
      response.end(url === "/hub.js" ? hubScript : url === "/load.js" ? LOAD : PAGE);
    });
    await new Promise<void>((resolve) => pages.listen(0, "127.0.0.1", resolve));
    origin = `http://localhost:${(pages.address() as AddressInfo).port}`;
    await hub.start();
    if ("missing" in CHROMIUM) throw new Error(CHROMIUM.missing);
    browser = await chromium.launch({ executablePath: CHROMIUM.path, args: ["--no-sandbox"] });
    context = await browser.newContext();
  });
  afterAll(async () => {
    await browser?.close();
    await hub.stop();
    await new Promise((resolve) => pages.close(resolve));
    rmSync(scratch, { recursive: true, force: true });
  });
  afterEach(() => hub.reset());

  /** Size and SHA-256 of the weights, read in a page. */
  async function load(page: Page, settings: { offline?: boolean } = {}): Promise<unknown> {
    const options = { hub: { endpoint: hub.endpoint, token: TOKEN, ...settings } };
    return page.evaluate(`load(${JSON.stringify(options)})`);
  }

  async function openPage(where: BrowserContext = context): Promise<Page> {
    const page = await where.newPage();
    await page.goto(origin);
    await page.waitForFunction("globalThis.load !== undefined");
    return page;
  }

  test("downloads, resumes after a closed tab, serves from storage; the token stays at the hub", async () => {
    const { content } = weights;
    const expected = {
      size: content.length,
      sha: Buffer.from(
        await crypto.subtle.digest("SHA-256", content as Uint8Array<ArrayBuffer>),
      ).toString("hex"),
    };
    hub.repos.set("org/name", {
      commit: COMMIT,
      access: "private",
      files: { "config.json": config, "model.safetensors": weights },
    });
    let page = await openPage();
    let stall = (): void => {};
    const stalled = new Promise<void>((resolve) => {
      stall = resolve;
    });
    hub.intercept = ({ host }) => {
      if (host !== "cdn" || hub.sent < 14 * 1024 * 1024) return false;
      stall();
      return true; // never answered
    };
    const cut = load(page).catch((error: unknown) => String(error));
    expect(await Promise.race([stalled, cut])).toBeUndefined();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await page.close();
    expect(await cut).toMatch(/closed/);

    hub.intercept = () => false;
    hub.sent = 0;
    page = await openPage();
    const other = await openPage();
    expect(await Promise.all([load(page), load(other)])).toEqual([expected, expected]);
    // One part of 8 MiB had been kept, and of two tabs one downloaded.
    expect(hub.sent).toBe(content.length - 8 * 1024 * 1024);
    const onCdn = hub.seen.filter(({ host }) => host === "cdn");
    expect(onCdn.length).toBeGreaterThan(0);
    expect(onCdn.filter(({ authorization }) => authorization !== undefined)).toEqual([]);

    hub.take();
    expect(await load(page, { offline: true })).toEqual(expected);
    expect(hub.take()).toEqual([]);
    await other.close();
    await page.close();
  });

  test("without a file system: cache storage", async () => {
    const small = { content: someBytes(9 * 1024 * 1024, 3), lfs: true };
    const files = { "config.json": config, "model.safetensors": small };
    hub.repos.set("org/name", { commit: OTHER_COMMIT, files });
    const page = await openPage();
    await page.evaluate("StorageManager.prototype.getDirectory = undefined");
    const first = await load(page);
    expect(first).toMatchObject({ size: small.content.length, sha: etagOf(small) });
    hub.take();
    expect(await load(page, { offline: true })).toEqual(first);
    expect(hub.take()).toEqual([]);
    expect(await page.evaluate("caches.keys()")).toEqual(["tureen"]);
    await page.close();
  });

  test("out of quota: said plainly, and what was there stays", async () => {
    const own = await browser.newContext();
    const page = await openPage(own);
    const session = await own.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 12 * 1024 * 1024 });
    const files = { "config.json": config, "model.safetensors": weights };
    hub.repos.set("org/name", { commit: COMMIT, files });
    const text = await load(page).catch((error: unknown) => String(error));
    expect(text).toMatch(
      /the browser gives this page no more storage: found (QuotaExceeded|Abort)Error/,
    );
    await session.send("Storage.overrideQuotaForOrigin", { origin });
    await new Promise((resolve) => setTimeout(resolve, 300)); // for requests that were given up
    hub.sent = 0;
    expect(await load(page)).toMatchObject({ size: weights.content.length });
    expect(hub.sent).toBe(weights.content.length - 8 * 1024 * 1024);
    await own.close();
  });
});
