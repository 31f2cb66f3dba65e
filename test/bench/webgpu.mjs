// Tureen's products on WebGPU beside ONNX Runtime Web's, in one Chromium on SwiftShader (or with --gpu on what it finds): after
// `npm run build` and `npm install --prefix test/bench`, node test/bench/webgpu.mjs. Ratios above 1: Tureen is faster.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const here = fileURLToPath(new URL(".", import.meta.url));
const folders = {
  "/tureen/": join(here, "../../dist/"),
  "/ort/": join(here, "node_modules/onnxruntime-web/dist/"),
  "/peers/": join(here, "peers/"),
  "/": join(here, "webgpu/"),
};
const types = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

const shapes = [
  [576, 576],
  [1536, 576],
  [2048, 2048],
].flatMap(([rows, cols]) =>
  ["q4", "f32"].flatMap((type) => [1, 32].map((tokens) => ({ type, rows, cols, tokens }))),
);
const plan = JSON.stringify({ shapes, rounds: 5 });

const server = createServer(async ({ url }, response) => {
  const { pathname } = new URL(url, "http://host");
  const prefix = Object.keys(folders).find((name) => pathname.startsWith(name));
  const file = join(
    folders[prefix],
    pathname === "/" ? "index.html" : pathname.slice(prefix.length),
  );
  if ((await stat(file).catch(() => undefined))?.isFile() !== true) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" });
  createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const software = process.argv.includes("--gpu") ? [] : ["--use-webgpu-adapter=swiftshader"];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    ...software,
    "--disable-background-networking",
    "--no-first-run",
  ],
});
try {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => console.error(String(error)));
  await tab.goto(`http://127.0.0.1:${server.address().port}/?${new URLSearchParams({ plan })}`);
  const text = await tab.locator("#result").textContent({ timeout: 1_200_000 });
  const { device, ort, rows, failure } = JSON.parse(text);
  if (failure !== undefined) throw new Error(failure);
  console.log(`${device}; onnxruntime-web ${ort}; ms per product, median of 5 (spread)`);
  for (const { type, rows: out, cols, tokens, tureen, ort: theirs, failure: why } of rows) {
    const name = `${type} [${out}, ${cols}] × ${tokens}`.padEnd(24);
    if (why !== undefined) {
      console.log(`${name} ${why}`);
      continue;
    }
    const [a, b] = [median(tureen), median(theirs)];
    console.log(
      `${name} Tureen ${show(tureen)}   ONNX Runtime Web ${show(theirs)}   ratio ${(b / a).toFixed(2)}`,
    );
  }
} finally {
  await browser.close();
  server.close();
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

function show(values) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return `${median(values).toFixed(2)} (${least.toFixed(2)}-${most.toFixed(2)})`;
}
