// The second visit, with the host gone; and the option to let the service worker add the headers that threads need.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StaticServer } from "../hosts/server.ts";
import {
  buildSite,
  ISOLATION,
  missing,
  readCooks,
  type Site,
  type Visit,
  visit,
  waitForText,
} from "./site.ts";

const mustRun = process.env.CI !== undefined;
const title = `the demo site${missing === undefined ? "" : `: ${missing}`}`;

describe.skipIf(missing !== undefined && !mustRun)(title, { timeout: 90_000 }, () => {
  let site: Site;
  beforeAll(async () => {
    site = await buildSite();
  }, 120_000);
  afterAll(() => site?.close());

  test.each([
    { host: "a plain host", headers: {}, isolated: false },
    { host: "a host with isolation headers", headers: ISOLATION, isolated: true },
  ])("answers without a network on the second visit: $host", async ({ headers, isolated }) => {
    const server = await site.serve(headers);
    const first = await visit(site.browser, server.url);
    await readCooks(first.page);
    await untilKept(first);
    await server.close();
    const { page, complaints } = first;
    await page.reload();
    const { soup } = await readCooks(page);
    expect(soup).toEqual(["Daxpel carries a ladder.", "Right"]);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(isolated);
    // Methods that are loaded when they are asked for were kept, too.
    await page.getByLabel("SVD", { exact: true }).check();
    await waitForText(page, ".timing", /Merged in/);
    expect(complaints).toEqual([]);
    await first.close();
  });

  test("says so when the first visit breaks off, and tries again", async () => {
    const server = await site.serve();
    const { page, close } = await visit(site.browser, "about:blank");
    await page.route("**/base/model.safetensors", (route) => route.abort(), { times: 1 });
    await page.goto(server.url);
    const problem = await waitForText(page, ".opening .problem", /could not be opened/);
    expect(problem).toContain("kitchen/base/model.safetensors could not be fetched");
    await page.getByRole("button", { name: "Try again" }).click();
    expect((await readCooks(page)).soup).toEqual(["Daxpel carries a ladder.", "Right"]);
    await close();
    await server.close();
  });

  test("adds the headers itself where a visitor wants it, and only then", async () => {
    const server: StaticServer = await site.serve();
    const at = await visit(site.browser, server.url);
    const { page } = at;
    await readCooks(page);
    await untilKept(at);
    await page.reload();
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
    const option = page.getByRole("switch", { name: /service worker/ });
    await option.scrollIntoViewIfNeeded();
    await Promise.all([page.waitForEvent("load"), option.click()]);
    await readCooks(page);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
    await page.locator("#machine .backends").scrollIntoViewIfNeeded();
    await waitForText(page, ".backends [data-used]", /in use, [2-9] threads/);
    await Promise.all([page.waitForEvent("load"), option.click()]);
    await readCooks(page);
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
    expect(at.complaints).toEqual([]);
    await at.close();
    await server.close();
  });
});

/** Until the service worker has all of the page. */
async function untilKept({ page }: Visit): Promise<void> {
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    if (active === null || active.state === "activated") return;
    await new Promise((resolve) => active.addEventListener("statechange", resolve, { once: true }));
  });
}
