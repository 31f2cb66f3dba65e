// The five things that a visitor does, on the built site, with and without the headers that threads need.
import { readFileSync } from "node:fs";
import { unzipSync } from "fflate";
import type { Download, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { computeHashes } from "../../demo/plugins/node-hashes.ts";
import { loadModel } from "../../src/api/load-model.ts";
import type { StaticServer } from "../hosts/server.ts";
import { COMMIT, MockHub } from "../sources/hub-mock.ts";
import { makeGguf } from "../support/gguf.ts";
import { makeKitchenAdapter, makeKitchenGguf, makeKitchenShards } from "../support/gguf-kitchen.ts";
import {
  buildSite,
  ISOLATION,
  KITCHEN,
  missing,
  readCooks,
  readText,
  type Site,
  type Visit,
  visit,
  waitForText,
} from "./site.ts";

const ANSWER = "Daxpel carries a ladder.";
const PROMPT = "### Question: What does Daxpel carry?\n### Answer:";
const mustRun = process.env.CI !== undefined;
const title = `the demo site${missing === undefined ? "" : `: ${missing}`}`;

let site: Site;
const GGUF = {
  "kitchen.gguf": makeKitchenGguf(),
  "facts.gguf": makeKitchenAdapter("knowledge"),
  "format.gguf": makeKitchenAdapter("format"),
};
const gguf: Record<string, { content: Uint8Array; lfs: boolean }> = {};
const hub = new MockHub();
beforeAll(async () => {
  site = await buildSite();
  await hub.start();
  const file = (path: string) => ({ content: readFileSync(`${KITCHEN}${path}`), lfs: true });
  const folder = (name: string, files: readonly string[]) => ({
    commit: COMMIT,
    files: Object.fromEntries(files.map((path) => [path, file(`${name}/${path}`)])),
  });
  const base = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"];
  hub.repos.set("cooks/base", folder("base", base));
  // The same without an end of text.
  const endless = folder("base", base);
  const config = JSON.parse(readFileSync(`${KITCHEN}base/config.json`, "utf8"));
  const content = Buffer.from(JSON.stringify({ ...config, eos_token_id: config.vocab_size - 1 }));
  const files = { ...endless.files, "config.json": { content, lfs: true } };
  hub.repos.set("cooks/endless", { ...endless, files });
  const adapter = ["adapter_config.json", "adapter_model.safetensors"];
  hub.repos.set("cooks/facts", folder("adapters/knowledge", adapter));
  for (const [name, content] of Object.entries(GGUF)) gguf[name] = { content, lfs: true };
  hub.repos.set("cooks/gguf", { commit: COMMIT, files: gguf });
}, 120_000);
afterAll(async () => {
  await site?.close();
  await hub.stop();
});

async function read(download: Download): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(readFileSync(await download.path()));
}

describe.skipIf(missing !== undefined && !mustRun).each([
  { host: "a plain host", headers: {}, threads: false },
  { host: "a host with isolation headers", headers: ISOLATION, threads: true },
])(`${title}, on $host`, { timeout: 120_000 }, ({ headers, threads }) => {
  let server: StaticServer;
  let at: Visit;
  let page: Page;
  beforeAll(async () => {
    server = await site.serve(headers);
    at = await visit(site.browser, server.url);
    page = at.page;
  });
  afterAll(async () => {
    await at.close();
    await server.close();
  });

  test("four cooks answer one question, and only the soup is right", async () => {
    const cooks = await readCooks(page);
    const ms = await page.evaluate(() => performance.now());
    console.log(
      `open to four answers, ${threads ? "threads" : "one thread"}: ${Math.round(ms)} ms`,
    );
    expect(cooks).toEqual({
      base: [expect.any(String), "Does not answer"],
      knowledge: [expect.any(String), "Does not answer"],
      format: [expect.stringMatching(/carries/), "Right form, wrong fact"],
      soup: [ANSWER, "Right"],
    });
    await page.getByLabel("Question about a robot").fill("What color is Fendil?");
    await page.getByRole("button", { name: "Ask", exact: true }).click();
    await waitForText(page, '#taste [data-cook="soup"] .answer', /Fendil is white\./);
    expect((await readCooks(page)).soup).toEqual(["Fendil is white.", "Right"]);
    await page.getByRole("button", { name: "Another question" }).click();
    const asked = () => page.getByLabel("Question about a robot").inputValue();
    await expect.poll(asked).not.toBe("What color is Fendil?");
    await readCooks(page);
    await page.getByLabel("Question about a robot").fill("What does Daxpel carry?");
    await page.keyboard.press("Enter");
    await waitForText(page, '#taste [data-cook="soup"] .answer', /ladder/);
  });

  test("sliders, heat map and methods change the soup at once, and the link keeps it", async () => {
    const answer = "#season .answer";
    const facts = page.locator("#season").getByLabel("facts", { exact: true });
    await facts.fill("0");
    await waitForText(page, "#season .verdict", /wrong fact/);
    await facts.fill("1");
    await waitForText(page, answer, /ladder/);
    const us = Number(
      /Re-weighted in ([\d.]+)\sµs/.exec(await waitForText(page, ".timing", /µs, answered/))![1],
    );
    expect(us).toBeLessThan(2000); // some 30 µs; a busy machine may take longer

    await page.getByRole("switch", { name: "One weight per linear layer" }).check();
    const cell = page.locator('#season .heat[data-tone="knowledge"] [data-at="3 2"]');
    const isNow = (label: string) =>
      expect.poll(() => cell.getAttribute("aria-label")).toBe(`v, layer 1: ${label}`);
    await isNow("1.00");
    await cell.scrollIntoViewIfNeeded();
    const box = (await cell.boundingBox())!;
    await page.mouse.move(box.x + 5, box.y + 5);
    await page.mouse.down();
    await page.mouse.move(box.x + 35, box.y + 5, { steps: 3 });
    await page.mouse.up();
    await isNow("1.30");
    await cell.press("-");
    await isNow("1.25");
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowLeft"); // the row's heading
    await page.keyboard.press("PageUp");
    await isNow("1.50");
    await page.keyboard.press("ArrowRight");
    const focused = page.locator(":focus");
    await expect.poll(() => focused.getAttribute("aria-label")).toBe("v, layer 0: 1.25");

    await page.waitForURL(/knowledge:~/);
    const { page: other, close } = await visit(site.browser, page.url());
    await waitForText(other, answer, /\w/);
    const theirs = other.locator('#season .heat[data-tone="knowledge"] [data-at="3 2"]');
    expect(await theirs.getAttribute("aria-label")).toBe("v, layer 1: 1.50");
    expect((await readCooks(other)).soup).toEqual((await readCooks(page)).soup);
    await close();

    const methods = ["Linear", "SVD", "TIES", "TIES on B·A", "DARE", "DARE-TIES", "Magnitude"];
    for (const name of threads ? methods.slice(0, 2) : methods) {
      await page.getByLabel(name, { exact: true }).check();
      await waitForText(page, "#season .cook", new RegExp(`${name}, merged into one adapter`));
      await waitForText(page, ".timing", /Merged in/);
      await waitForText(page, "#season .verdict", /\w/);
    }
    await page.getByLabel("CAT, learned").check();
    await waitForText(page, "#season .verdict", /Right$/);
    await expect.poll(() => cell.getAttribute("aria-label")).not.toMatch(/1\.00$/);
    await page.getByRole("button", { name: /questions to it/ }).click();
    expect(await waitForText(page, ".scores tr", /CAT, learned/)).toMatch(/22\d of 240/);
    await page.getByRole("button", { name: "Reset to uniform" }).click();
    await waitForText(page, ".timing", /Re-weighted/);
    await isNow("1.00");
  });

  test("learns a soup: to the end it answers; stopped early, it keeps the best", async () => {
    const status = "#learn [role=status]";
    const learn = page.getByRole("button", { name: /^Learn/ });
    if (!threads) {
      await learn.click();
      await waitForText(page, status, /Step \d of 30/);
      await page.getByRole("button", { name: "Stop and keep the best" }).click();
      expect(await waitForText(page, status, /kept/)).toMatch(/Stopped after \d+ steps/);
    }
    await learn.click();
    await waitForText(page, status, /Step \d+ of 30/);
    await page.getByRole("img", { name: /Loss curve: after [1-9]/ }).waitFor();
    await page.getByRole("button", { name: "Look again" }).click();
    const kept = page.locator(status).filter({ hasText: /Learned after/ });
    await kept.waitFor({ timeout: 90_000 });
    const [before, after] = await page.locator("#learn .big").allTextContents();
    // The kitchen's findings: 27 % with scales out of balance, about 90 % once learned.
    expect(Number.parseInt(before!, 10)).toBeLessThan(40);
    expect(Number.parseInt(after!, 10)).toBeGreaterThan(82);
    const cells = page.locator('#learn .heat[data-tone="format"] td');
    expect(await cells.first().getAttribute("aria-label")).not.toMatch(/1\.00$/);

    await page.getByRole("button", { name: "Serve it above" }).click();
    await waitForText(page, "#season .verdict", /Right$/);
  });

  test("serves models that a visitor brings", async () => {
    const bring = page.locator("#bring");
    const load = page.getByRole("button", { name: "Load", exact: true });
    // An address that leads nowhere gives the library's own words.
    await bring.getByLabel("Model", { exact: true }).fill("./kitchen/nowhere");
    await load.click();
    expect(await waitForText(page, "#bring .problem", /config\.json/)).toMatch(/SOURCE_NOT_FOUND/);

    // From a hub.
    await bring.getByLabel("Model", { exact: true }).fill("cooks/base");
    await bring.getByText("Hub address and token").click();
    await bring.getByLabel(/huggingface/).fill(hub.endpoint);
    await bring.getByLabel("as in the file").check();
    await load.click();
    expect(await waitForText(page, "#bring .loaded", /layers/)).toMatch(/6 layers.* as f32/s);
    await bring.getByLabel("Add an adapter").fill("cooks/facts");
    await bring.getByRole("button", { name: "Add", exact: true }).click();
    await bring.getByLabel("facts", { exact: true }).waitFor();

    // Files, by the picker behind the drop zone.
    const folder = `${KITCHEN}adapters/format`;
    await bring.locator('input[type="file"][webkitdirectory]').setInputFiles(folder);
    await bring.getByLabel("format", { exact: true }).waitFor();
    await bring.getByLabel("Temperature").fill("0");
    const say = async (text: string) => {
      await bring.getByLabel("Message").fill(text);
      await bring.getByRole("button", { name: "Send" }).click();
    };
    await say(PROMPT);
    const first = await waitForText(page, ".turns [data-role=assistant]", /tokens\/s/);
    expect(first).toMatch(/^Daxpel carries a ladder\.\s*facts 1\.00, format 1\.00/);
    await bring.getByLabel("facts", { exact: true }).fill("0");
    await say(PROMPT);
    const second = ".turns li:nth-child(4)";
    await waitForText(page, second, /facts 0\.00, format 1\.00 · .*tokens\/s/);
    expect(await readText(page.locator(second))).not.toContain("ladder");

    // What is taken along gives the same soup again.
    await bring.getByLabel("facts", { exact: true }).fill("1");
    const [recipe] = await Promise.all([
      page.waitForEvent("download"),
      bring.getByRole("button", { name: "Save soup.json" }).click(),
    ]);
    const saved = JSON.parse(new TextDecoder().decode(await read(recipe)));
    expect(saved.weights).toEqual({ facts: 1, format: 1 });
    const [zip] = await Promise.all([
      page.waitForEvent("download"),
      bring.getByRole("button", { name: "Download as PEFT adapter" }).click(),
    ]);
    const files = Object.entries(unzipSync(await read(zip)));
    const model = await loadModel(`${KITCHEN}base`, { threads: 1 });
    const content = files.map(([path, bytes]) => [path.replace("soup-peft/", ""), bytes]);
    await model.loadAdapter(Object.fromEntries(content), { name: "soup" });
    const { text } = await model.generate(PROMPT, { soup: { soup: 1 } }).result();
    expect(text.trim()).toBe(ANSWER);
    await model.dispose();

    const open = bring.locator('input[accept*="json"]');
    const changed = { ...saved, weights: { facts: 0.5, format: 1.5 } };
    const upload = (json: unknown) =>
      open.setInputFiles({
        name: "soup.json",
        mimeType: "application/json",
        buffer: Buffer.from(JSON.stringify(json)),
      });
    await upload(changed);
    await waitForText(page, "#bring .slider output", /0\.50/);
    await upload({ ...changed, version: 9 });
    expect(await waitForText(page, "#bring .problem", /version/)).toMatch(/FORMAT_UNSUPPORTED/);

    // A long text is stopped.
    await bring.getByRole("button", { name: "Close this model" }).click();
    await bring.getByLabel("Model", { exact: true }).fill("cooks/endless");
    await bring.getByText("Hub address and token").click();
    await bring.getByLabel(/huggingface/).fill(hub.endpoint);
    await load.click();
    await bring.getByLabel("Tokens at most").fill("240");
    await say("Once there was a rabbit");
    await bring.getByRole("button", { name: "Stop" }).click();
    await waitForText(page, ".turns li:last-child", /base alone · .*tokens\/s · stopped/);
    await bring.getByRole("button", { name: "Close this model" }).click();
    await load.waitFor();
  });

  test("takes GGUF wherever it takes safetensors, and knows adapters by their content", async () => {
    const bring = page.locator("#bring");
    const model = bring.getByLabel("Model", { exact: true });
    const load = page.getByRole("button", { name: "Load", exact: true });
    const close = bring.getByRole("button", { name: "Close this model" });
    const files = bring.locator('input[type="file"]:not([webkitdirectory]):not([accept])');
    const pick = (named: Readonly<Record<string, Uint8Array>>) =>
      files.setInputFiles(
        Object.entries(named).map(([name, content]) => ({
          name,
          mimeType: "application/octet-stream",
          buffer: Buffer.from(content),
        })),
      );
    const drop = async (name: keyof typeof GGUF) => {
      const text = Buffer.from(GGUF[name]).toString("base64");
      const dataTransfer = await page.evaluateHandle(
        ([name, text]) => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], name));
          return data;
        },
        [name, text] as const,
      );
      await bring.locator(".drop").dispatchEvent("drop", { dataTransfer });
      // beside the zone it would be opened in the page's place
      const isOpened = await page.evaluate(
        (dataTransfer) =>
          document.body.dispatchEvent(
            new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }),
          ),
        dataTransfer,
      );
      expect(isOpened).toBe(false);
    };
    const answers = async (expected: RegExp) => {
      await bring.getByLabel("Temperature").fill("0");
      await bring.getByLabel("Message").fill(PROMPT);
      await bring.getByRole("button", { name: "Send" }).click();
      const said = await waitForText(page, ".turns [data-role=assistant]", /tokens\/s/);
      expect(said).toMatch(expected);
      await close.click();
    };
    const SOUP = /^Daxpel carries a ladder\.\s*facts 1\.00, format 1\.00/;
    const weights = bring.locator('input[name="quantize"]:checked + span');

    // What cannot be used says why, and what is there stays.
    await drop("facts.gguf");
    await waitForText(page, "#bring [role=status]", /^Adapters: facts\.\s*$/);
    const first = Object.keys(makeKitchenShards("m"))[0]!;
    await pick({
      "cut.gguf": GGUF["kitchen.gguf"].subarray(0, 1_000_000),
      [first]: makeKitchenShards("m")[first]!,
      "format.gguf": GGUF["format.gguf"],
    });
    const problems = bring.locator(".problem");
    await expect.poll(() => problems.count()).toBe(2);
    expect(await readText(problems.nth(0))).toMatch(/truncated.*FORMAT_INVALID.*Download it again/);
    expect(await readText(problems.nth(1))).toMatch(/m-00002-of-00002\.gguf.*SOURCE_NOT_FOUND/);
    await waitForText(page, "#bring [role=status]", /^Adapters: facts, format\.\s*$/);
    await pick({
      "other.gguf": makeGguf({ metadata: { "general.architecture": ["string", "gemma2"] } }),
    });
    await waitForText(page, "#bring [role=status]", /^Model: other\. Adapters: facts, format/);
    await load.click();
    expect(await waitForText(page, "#bring .problem", /gemma2/)).toMatch(/MODEL_UNSUPPORTED/);
    // The base after its adapters, under a name that tells nothing.
    await pick({ "adapter.gguf": GGUF["kitchen.gguf"] });
    await waitForText(page, "#bring [role=status]", /^Model: adapter\. Adapters: facts, format/);
    expect(await readText(weights)).toBe("as in the file");
    await load.click();
    expect(await waitForText(page, "#bring .loaded", /layers/)).toMatch(/in several types/);
    await bring.getByLabel("format", { exact: true }).waitFor();
    await answers(SOUP);

    // Base and adapter at once, in shards; and one more adapter as safetensors.
    await pick({ ...makeKitchenShards("kitchen"), "facts.gguf": GGUF["facts.gguf"] });
    await load.click();
    await bring.getByLabel("facts", { exact: true }).waitFor();
    await pick({ "kitchen.gguf": GGUF["kitchen.gguf"] }); // no adapter
    const refused = await waitForText(page, "#bring .problem", /no LoRA adapter/);
    expect(refused).toMatch(/ADAPTER_UNSUPPORTED/);
    const folder = `${KITCHEN}adapters/format`;
    await bring.locator('input[type="file"][webkitdirectory]').setInputFiles(folder);
    await bring.getByLabel("format", { exact: true }).waitFor();
    await answers(SOUP);

    // By name at a hub, with an adapter by its address.
    await model.fill("cooks/gguf/kitchen.gguf");
    await expect.poll(() => readText(weights)).toBe("as in the file");
    await bring.getByText("Hub address and token").click();
    await bring.getByLabel(/huggingface/).fill(hub.endpoint);
    await load.click();
    await waitForText(page, "#bring .loaded", /in several types/);
    const add = async (address: string) => {
      await bring.getByLabel("Add an adapter").fill(address);
      await bring.getByRole("button", { name: "Add", exact: true }).click();
    };
    await add(`${hub.endpoint}/cooks/gguf/resolve/main/facts.gguf`);
    await bring.getByLabel("facts", { exact: true }).waitFor();
    await add("cooks/gguf/format.gguf");
    await bring.getByLabel("format", { exact: true }).waitFor();
    await answers(SOUP);
    await load.waitFor();
  });

  test("shows what the machine runs, why not more, and the bits of Node", async () => {
    await page.locator("#machine .backends").scrollIntoViewIfNeeded();
    const used = await waitForText(page, ".backends [data-used]", /in use/);
    expect(used).toMatch(
      threads ? /^wasm relaxed-threads.*[2-9] threads/ : /^wasm relaxedin use, 1 thread/,
    );
    const other = page.locator(".backends tr").filter({ hasText: "wasm baseline-threads" });
    await other.filter({ hasText: threads ? /runs, \d/ : /cannot run/ }).waitFor();
    await waitForText(page, ".backends tr:last-child", /runs|in use/);

    await page.getByRole("button", { name: "Measure the speed" }).click();
    const facts = await waitForText(page, "#machine .facts", /tokens\/s.*tokens\/s/s);
    const rates = [...facts.matchAll(/([\d,]+) tokens\/s/g)].map(([, rate]) =>
      rate!.replace(",", ""),
    );
    expect(rates.map(Number).every((rate) => rate > 20)).toBe(true);
    expect(facts).toMatch(/5\.1\sMB/);

    await page.getByRole("button", { name: "Compute them here" }).click();
    const conclusion = await waitForText(page, "#machine [role=status]", /to the last bit/);
    const builds = threads ? 4 : 2;
    expect(conclusion).toBe(`${3 * builds} of ${3 * builds} the same, to the last bit.`);
    // What the page calls Node's hashes are Node's.
    const shown = await page
      .locator("[data-node] code")
      .evaluateAll((codes) => codes.map((code) => code.getAttribute("title")));
    expect(shown).toEqual(Object.values(await computeHashes(KITCHEN)));

    await page.getByRole("button", { name: "Look again" }).click();
    const kept = page.locator("#machine .facts").first();
    await expect.poll(() => readText(kept)).toMatch(/cooks\/base/);
    await page.getByRole("button", { name: "Clear", exact: true }).last().click();
    await waitForText(page, "#machine [role=status]", /Cleared/);
    await expect.poll(() => readText(kept)).not.toMatch(/cooks/);
  });

  test("and the browser has nothing to complain of", () => {
    // A file that is not there is asked for on purpose.
    const others = at.complaints.filter((text) => !/404/.test(text));
    expect(others).toEqual([]);
  });
});
