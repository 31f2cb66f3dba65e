// Starts an engine on a page of headless Chromium, on its main thread or in a worker.
import { fileURLToPath } from "node:url";
import { launchChromium } from "../../hosts/hosts.ts";
import { ISOLATION, serveFiles } from "../../hosts/server.ts";

const BENCH = fileURLToPath(new URL("..", import.meta.url));

/**
 * @param {string} module path of an engine module below test/bench
 * @param {object} options what it starts with; paths as the page sees them: `/` is test/bench, `/dist/` the library's bundle
 * @param {{ dist: string, isolated: boolean, worker: boolean }} page isolated: cross-origin, so that there can be threads
 * @returns {Promise<import("./start-process.mjs").Engine>}
 */
export async function startPage(module, options, { dist, isolated, worker }) {
  const folders = { "/dist/": `${dist}/browser`, "/": BENCH };
  const server = await serveFiles(folders, isolated ? ISOLATION : {});
  const browser = await launchChromium().catch(async (error) => {
    await server.close();
    throw error;
  });
  const close = async () => {
    await browser.close();
    await server.close();
  };
  try {
    const tab = await browser.newPage();
    await tab.goto(`${server.url}page/index.html${worker ? "#worker" : ""}`);
    await tab.waitForFunction(() => window.ask !== undefined);
    const ask = async (message) => {
      const { value, failure } = await tab.evaluate((it) => window.ask(it), message);
      if (failure !== undefined) throw new Error(failure);
      return value;
    };
    const info = await ask({ start: { module, options } });
    return {
      info,
      run: (task) => ask({ task }),
      async close() {
        await ask({ close: true }).finally(close);
        return {};
      },
      kill: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
