// A browser that loses its GPU in the middle of a text, in a page and in a worker; and a page that is closed there.
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CHROMIUM } from "../hosts/binaries.ts";
import { bundleProgram } from "./bundle.ts";
import { openBrowser, type ProgramBrowser } from "./chromium.ts";

const golden = new URL("../golden/kitchen/greedy.json", import.meta.url);
const [{ prompt_ids: prompt }] = JSON.parse(readFileSync(golden, "utf8"));
const TOKENS = 24;

interface Result {
  readonly tokens?: readonly number[];
  readonly backend?: string;
  readonly code?: string;
}

const missing = "missing" in CHROMIUM ? CHROMIUM.missing : undefined;
if (missing !== undefined && process.env.CI) test("is there", () => expect.fail(missing));

describe.skipIf(missing !== undefined)("Chromium without its GPU", () => {
  let host: ProgramBrowser;
  let whole: readonly number[];
  beforeAll(async () => {
    host = await openBrowser(await bundleProgram("webgpu-loss"));
    whole = (await finish(await start({}))).tokens!;
    expect(whole.length).toBe(TOKENS);
  }, 120_000);
  afterAll(async () => {
    await host.close();
  });

  async function start({
    fallback = false,
    lose = 0,
    worker = false,
    maxTokens = TOKENS,
  }): Promise<Page> {
    const tab = await host.browser.newPage();
    const query = new URLSearchParams({
      prompt: JSON.stringify(prompt),
      text: JSON.stringify({ fallback, maxTokens }),
      lose: String(lose),
    });
    await tab.goto(`${host.url}index.html?${query}${worker ? "#worker" : ""}`);
    return tab;
  }

  /** In the middle of its text. */
  async function reach(tab: Page, tokens: number): Promise<void> {
    await tab.waitForFunction(
      (least) => Number(document.querySelector("#tokens")?.textContent) >= least,
      tokens,
      { timeout: 100_000 },
    );
  }

  async function finish(tab: Page): Promise<Result> {
    const text = await tab.locator("#result").textContent({ timeout: 100_000 });
    await tab.close();
    return JSON.parse(text!);
  }

  test("a device that is lost in a worker fails the text by code", async () => {
    const result = await finish(await start({ lose: 3, worker: true }));
    expect(result.code).toBe("BACKEND_FAILED");
  }, 120_000);

  test("with fallback the text goes on on wasm", async () => {
    const result = await finish(await start({ lose: 3, fallback: true }));
    expect(result).toEqual({ tokens: whole, backend: "wasm" });
  }, 120_000);

  test("a GPU process that crashes is a lost device", async () => {
    const tab = await start({ fallback: true, maxTokens: 200 });
    await reach(tab, 3);
    const devtools = await host.browser.newBrowserCDPSession();
    await devtools.send("Browser.crashGpuProcess");
    const { tokens, backend } = await finish(tab);
    expect(backend).toBe("wasm");
    expect(tokens!.length).toBe(200);
    expect(tokens!.slice(0, TOKENS)).toEqual(whole);
  }, 120_000);

  test("a page that is closed in the middle of its text leaves the next one alone", async () => {
    const tab = await start({ worker: true });
    await reach(tab, 3);
    await tab.close();
    expect(await finish(await start({}))).toEqual({ tokens: whole, backend: "webgpu" });
  }, 120_000);
});
