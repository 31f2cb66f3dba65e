// Writes docs/demo.png, the picture that README opens with, from the built page (demo/dist) in headless Chromium:
// `npm run screenshot`.
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { preview } from "vite";

const here = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const VIEWPORT = { width: 1280, height: 740 };

const server = await preview({
  configFile: false,
  root: here("demo"),
  logLevel: "warn",
  preview: { port: 0, host: "127.0.0.1" },
});
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
});
try {
  const page = await browser.newPage({ viewport: VIEWPORT, colorScheme: "light" });
  await page.goto(server.resolvedUrls.local[0]);
  const right = page.locator("#taste .verdict", { hasText: "Right" });
  await page.locator('#taste [data-cook="soup"] .verdict', { hasText: "Right" }).waitFor();
  await right.nth(1).waitFor(); // of form, and of fact
  await page.evaluate(() => document.fonts.ready);
  await mkdir(here("docs"), { recursive: true });
  await page.screenshot({ path: here("docs/demo.png") });
} finally {
  await browser.close();
  await server.close();
}
