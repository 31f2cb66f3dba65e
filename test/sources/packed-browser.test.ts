// Packed weights in a real browser, headless Chromium: in the origin private file system and in cache storage, on a page and in
// its worker, in two tabs at once, and where the browser gives no room.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM } from "../hosts/binaries.ts";
import { ISOLATION, type StaticServer, serveFiles } from "../hosts/server.ts";
import { kitchenPath } from "../support/kitchen.ts";
import { COMMIT, type MockFile, MockHub } from "./hub-mock.ts";

const missing = "missing" in CHROMIUM ? CHROMIUM.missing : undefined;

interface Loaded {
  readonly logits: string;
  readonly threads: number;
  readonly warnings: readonly string[];
  readonly packedBytes: number;
}

// In CI it must run, and fails without.
describe.skipIf(missing && !process.env.CI)(`Chromium${missing ? `: ${missing}` : ""}`, () => {
  const hub = new MockHub();
  let server: StaticServer;
  let browser: Browser;

  beforeAll(async () => {
    const folder = (path: string) => fileURLToPath(new URL(path, import.meta.url));
    const folders = { "/dist/": folder("../../dist/browser"), "/": folder("page") };
    server = await serveFiles(folders, ISOLATION);
    await hub.start();
    const base = kitchenPath("base");
    const names = readdirSync(base).filter((name) => /^(config|model)\./.test(name));
    const files = names.map((name): [string, MockFile] => {
      const content = new Uint8Array(readFileSync(join(base, name)));
      return [name, { content, lfs: name.endsWith(".safetensors") }];
    });
    hub.repos.set("kitchen/base", { commit: COMMIT, files: Object.fromEntries(files) });
    if ("missing" in CHROMIUM) throw new Error(CHROMIUM.missing);
    browser = await chromium.launch({ executablePath: CHROMIUM.path, args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    await hub.stop();
    await server.close();
  });

  async function openPage(context: BrowserContext): Promise<Page> {
    const page = await context.newPage();
    await page.goto(`${server.url}packed.html`);
    await page.waitForFunction("globalThis.load !== undefined");
    return page;
  }

  function load(page: Page, options: object): Promise<Loaded> {
    const settings = { hub: { endpoint: hub.endpoint }, quantize: "q4", ...options };
    return page.evaluate(`load(${JSON.stringify(settings)})`);
  }

  test.each([
    { name: "file system, on the page", options: { threads: 1 }, threads: 1 },
    { name: "cache storage, on the page", options: { threads: 1 }, threads: 1, noFiles: true },
    { name: "file system, threads in a worker", options: { threads: 2, worker: true }, threads: 2 },
  ])("kept and read again: $name", async ({ options, threads, noFiles }) => {
    const context = await browser.newContext();
    const page = await openPage(context);
    if (noFiles) await page.evaluate("StorageManager.prototype.getDirectory = undefined");
    const plain = await load(page, { ...options, packedCache: false });
    expect(plain).toMatchObject({ threads, warnings: [], packedBytes: 0 });
    const first = await load(page, options);
    expect(first).toMatchObject({ logits: plain.logits, threads, warnings: [] });
    expect(first.packedBytes).toBeGreaterThan(700_000);
    // What the weights' file holds behind its header no longer matters.
    expect(await page.evaluate("spoilWeights()")).toBe(1);
    expect(await load(page, options)).toEqual(first);
    const spoilt = await load(page, { ...options, packedCache: false });
    expect(spoilt.logits).not.toBe(plain.logits);
    // The copy goes with the model.
    expect(await page.evaluate("clear()")).toBeGreaterThan(5_000_000);
    expect(await page.evaluate("clear().catch(({ code }) => code)")).toBe("SOURCE_NOT_FOUND");
    await context.close();
  });

  test("two tabs at once; a copy that is damaged", async () => {
    const context = await browser.newContext();
    const pages = await Promise.all([openPage(context), openPage(context)]);
    const options = { threads: 1 };
    const [plain] = await Promise.all(pages.map((page) => load(page, options)));
    expect(plain!.packedBytes).toBeGreaterThan(700_000);
    expect(await pages[0]!.evaluate("spoilPacked()")).toBe(1);
    for (const result of await Promise.all(pages.map((page) => load(page, options)))) {
      expect(result.logits).toBe(plain!.logits);
    }
    expect(await load(pages[0]!, options)).toEqual(plain);
    await context.close();
  });

  test("no room: a warning, and the model", async () => {
    const context = await browser.newContext();
    const page = await openPage(context);
    const plain = await load(page, { threads: 1, packedCache: false });
    const session = await context.newCDPSession(page);
    const origin = new URL(server.url).origin;
    // `estimate()` does not know of it: the browser breaks the write off.
    await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 5_500_000 });
    const full = await load(page, { threads: 1 });
    expect(full).toEqual({
      ...plain,
      warnings: [expect.stringMatching(/^packed weights are not kept: /)],
    });
    await context.close();
  });
});
